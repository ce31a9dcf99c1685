//! nginx with its stream module: a worker for each CPU, each with listening sockets of its own.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use lb_userspace::lab::{Lab, Process};

use super::proxy;
use super::service::Service;

/// Starts it on the node.
pub fn start(lab: &Lab, services: &[Service]) -> Result<Process> {
    let file = lab.directory().join("nginx.conf");
    let text = configuration(lab.directory(), services);
    fs::write(&file, text).context("write the configuration of nginx")?;
    let mut command = Command::new("nginx");
    // Without `-e` it opens its log under /var before it reads the file.
    command.args(["-e", "stderr", "-c"]).arg(&file);
    proxy::start(lab, command)
}

fn configuration(directory: &Path, services: &[Service]) -> String {
    let mut text = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
         user root;\n\
         daemon off;\n\
         pid {}/nginx.pid;\n\
         error_log stderr;\n\
         worker_processes auto;\n\
         events {{ worker_connections 8192; }}\n\
         stream {{\n  proxy_half_close on;\n",
        directory.display()
    );
    for service in services {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  upstream {} {{", service.name);
        for endpoint in &service.endpoints {
            let _ = writeln!(
                text,
                "    server {} weight={};",
                endpoint.address, endpoint.weight
            );
        }
        let _ = writeln!(
            text,
            "  }}\n  server {{\n    listen {} reuseport backlog=32768;\n    proxy_pass {};\n  }}",
            service.address, service.name
        );
    }
    text + "}\n"
}
