//! What the servers are configured by.

use std::path::Path;

use super::server::Setup;

pub(crate) fn nginx(setup: &Setup, directory: &Path) -> String {
    let Setup { listen, origin, idle, limit, .. } = setup;
    let (directory, idle) = (directory.display(), idle.as_millis());
    format!(
        "daemon off;
worker_processes 2;
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {directory}/nginx-body;
    proxy_temp_path {directory}/nginx-proxy;
    fastcgi_temp_path {directory}/nginx-fastcgi;
    uwsgi_temp_path {directory}/nginx-uwsgi;
    scgi_temp_path {directory}/nginx-scgi;
    server {{
        listen {listen};
        keepalive_timeout {idle}ms;
        keepalive_requests {limit};
        location / {{
            proxy_pass http://{origin};
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
        }}
    }}
}}
"
    )
}

pub(crate) fn apache(setup: &Setup, directory: &Path) -> String {
    let Setup { listen, origin, idle, limit, .. } = setup;
    let (directory, idle) = (directory.display(), idle.as_millis());
    let modules = ["/usr/lib/apache2/modules", "/usr/lib64/httpd/modules"];
    let modules = modules.iter().find(|place| Path::new(place).is_dir()).unwrap_or(&modules[0]);
    format!(
        "ServerName localhost
ServerRoot {directory}
DefaultRuntimeDir {directory}
PidFile {directory}/apache.pid
ErrorLog {directory}/apache.log
User nobody
Group nogroup
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
Listen {listen}
StartServers 2
ServerLimit 4
ThreadsPerChild 25
MaxRequestWorkers 100
GracefulShutdownTimeout 2
KeepAlive On
KeepAliveTimeout {idle}ms
MaxKeepAliveRequests {limit}
ProxyPass / http://{origin}/ disablereuse=on
"
    )
}

pub(crate) fn haproxy(setup: &Setup) -> String {
    let Setup { listen, origin, idle, .. } = setup;
    let idle = idle.as_millis();
    format!(
        "global
    maxconn 500
    nbthread 2
defaults
    mode http
    timeout connect 1s
    timeout client 10s
    timeout server 10s
    timeout http-request 5s
    timeout http-keep-alive {idle}ms
listen front
    bind {listen}
    server origin {origin}
"
    )
}

/// A relay that waits less long for the origin than for the client: it ends
/// the connection to the client with a FIN, and still delivers what comes.
pub(crate) fn relay(setup: &Setup) -> String {
    let Setup { listen, origin, idle, no_linger, .. } = setup;
    let idle = idle.as_millis();
    let no_linger = if *no_linger { "    option nolinger\n" } else { "" };
    format!(
        "global
    maxconn 500
    nbthread 2
defaults
    mode tcp
    timeout connect 1s
    timeout client 10s
    timeout server {idle}ms
{no_linger}listen front
    bind {listen}
    server origin {origin}
"
    )
}

/// A cluster of two workers whose handler records a request as soon as it is
/// called.
pub(crate) const NODE: &str = r"
const cluster = require('node:cluster'), fs = require('node:fs'), http = require('node:http');
const [host, port, idle, limit] = process.argv.slice(2);
if (cluster.isPrimary) {
    let closing = false;
    cluster.fork();
    cluster.fork();
    cluster.on('exit', () => {
        if (!closing) cluster.fork();
        else if (Object.keys(cluster.workers).length === 0) process.exit(0);
    });
    process.on('SIGUSR2', () => {
        closing = true;
        for (const worker of Object.values(cluster.workers)) worker.send('close');
    });
} else {
    const server = http.createServer((request, response) => {
        const id = /^\/orders\/(\d+)$/.exec(request.url)[1];
        const record = Buffer.alloc(8);
        record.writeBigUInt64LE(BigInt(id));
        fs.writeSync(1, record);
        request.resume().on('end', () => setTimeout(() => response.end(id), 3));
    });
    server.keepAliveTimeout = Number(idle);
    server.maxRequestsPerSocket = Number(limit);
    process.on('message', () => server.close(() => process.exit(0)));
    server.listen(Number(port), host);
}
";
