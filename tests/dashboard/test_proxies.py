"""The dashboard behind nginx, Apache and Caddy, which provide TLS, set up as in packaging/proxies and the documents."""

import http.client
import re
import shutil
import socket
import ssl
import subprocess
import time
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from page_client import PATIENCE_S, PageClient
from page_in_thread import ACCESS, OPERATOR, Running
from tornado.httpclient import HTTPClientError

ROOT = Path(__file__).resolve().parents[2]
PROXIES = ROOT / "packaging" / "proxies"
NAME = "microscope.example.org"
OURS = {"Host": NAME, "Origin": f"https://{NAME}"}
NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name microscope.example.org;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
{location}
    }}
}}
"""


APACHE = """
ServerName microscope.example.org
ServerRoot {folder}
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule ssl_module {modules}/mod_ssl.so
LoadModule headers_module {modules}/mod_headers.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
Listen 127.0.0.1:{port}
<VirtualHost *:{port}>
SSLEngine on
SSLCertificateFile {folder}/certificate.pem
SSLCertificateKeyFile {folder}/key.pem
{location}
</VirtualHost>
"""
APACHE_MODULES = Path("/usr/lib/apache2/modules")
"""Where Debian has them."""


def nginx(port, upstream, folder):
    location = (PROXIES / "ptylive.nginx").read_text(encoding="utf-8").replace("127.0.0.1:5006", upstream)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, location=location), encoding="utf-8")
    return ["nginx", "-e", f"{folder}/error.log", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def apache2(port, upstream, folder):
    if not APACHE_MODULES.is_dir():
        pytest.skip(f"no {APACHE_MODULES} on this machine")
    location = (PROXIES / "ptylive.apache").read_text(encoding="utf-8").replace("127.0.0.1:5006", upstream)
    text = APACHE.format(folder=folder, modules=APACHE_MODULES, port=port, location=location)
    (folder / "apache.conf").write_text(text, encoding="utf-8")
    return ["apache2", "-f", str(folder / "apache.conf"), "-D", "FOREGROUND"]


def caddy(port, upstream, folder):
    """With a certificate of our own and a free port, so that it requests no certificate from anybody."""
    text = (PROXIES / "Caddyfile").read_text(encoding="utf-8").replace("127.0.0.1:5006", upstream)
    own = f"    tls {folder}/certificate.pem {folder}/key.pem\n"
    text = text.replace(f"{NAME} {{\n", f"https://{NAME}:{port} {{\n{own}")
    (folder / "Caddyfile").write_text("{\n    admin off\n    auto_https off\n}\n" + text, encoding="utf-8")
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@pytest.fixture(scope="module")
def page():
    running = Running(access=ACCESS, names=(NAME,), prefix="/ptylive")
    yield running
    running.end()


@dataclass(frozen=True)
class Proxy:
    """A running proxy: its port, and what makes its certificate trusted."""

    port: int
    tls: ssl.SSLContext

    def get(self, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        return self.request("GET", path, None, **headers)

    def request(
        self, method: str, path: str, body: bytes | None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        with closing(socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)) as plain:
            connection = http.client.HTTPConnection(NAME)
            connection.sock = self.tls.wrap_socket(plain, server_hostname=NAME)
            connection.request(method, path, body, headers={"Host": NAME, **headers})
            answer = connection.getresponse()
            found = answer.status, answer.headers, answer.read()
            connection.close()
            return found

    def open_page(self, page: Running, **headers: str) -> PageClient:
        url = f"https://{NAME}:{self.port}"
        return page.do(lambda: PageClient.open(url, "/ptylive/", tls=self.tls, **headers))


@pytest.fixture(scope="module", params=[nginx, apache2, caddy], ids=lambda start: start.__name__)
def proxy(request, page, tmp_path_factory):
    """The proxy in front of the page, with a certificate made for it."""
    for name in (request.param.__name__, "openssl"):
        if shutil.which(name) is None:
            pytest.skip(f"no {name} on this machine (apt-get install {name})")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found = free.getsockname()[1]
    folder = tmp_path_factory.mktemp(request.param.__name__)
    certify = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2", "-subj", f"/CN={NAME}"]
    certify += ["-addext", f"subjectAltName=DNS:{NAME}", "-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run(certify, cwd=folder, check=True, capture_output=True)
    command = request.param(found, f"127.0.0.1:{page.dashboard.port}", folder)
    with (folder / "said").open("w") as said:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder)}
        running = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
    try:
        wait_for(found, running, folder / "said")
        yield Proxy(found, ssl.create_default_context(cafile=folder / "certificate.pem"))
    finally:
        running.terminate()
        running.wait(30)


def wait_for(port, proxy, said):
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        assert proxy.poll() is None, said.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(said.read_text())


def signed_in(proxy):
    """The cookie set by a login through the proxy: it is only sent over TLS."""
    status, headers, _ = proxy.get(f"/ptylive/login?token={OPERATOR}")
    assert status in (302, 303)
    assert headers["Location"] == "./"
    cookie = headers["Set-Cookie"]
    assert re.search(r"Path=/(ptylive)?(;|$)", cookie)
    assert {"Secure", "HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
    return cookie.split(";")[0]


@pytest.mark.slow
def test_a_page_opens_with_its_websocket(page, proxy):
    cookie = signed_in(proxy)
    client = proxy.open_page(page, Cookie=cookie, **OURS)
    source = re.search(r'src="\./(static/[^"?]+)', client.page)
    assert proxy.get(f"/ptylive/{source[1]}", Cookie=cookie)[0] == 200


@pytest.mark.slow
def test_who_has_no_token_and_who_comes_from_elsewhere_is_kept_out(page, proxy):
    assert proxy.get("/ptylive/")[0] == 401
    elsewhere = {**OURS, "Origin": "https://evil.example"}
    with pytest.raises(HTTPClientError, match="403"):
        proxy.open_page(page, Cookie=signed_in(proxy), **elsewhere)


@pytest.mark.slow
def test_a_file_is_uploaded(page, proxy, tmp_path):
    """nginx alone would refuse it: a body may have 1 MB there, unless it is configured."""
    destination: Future[dict[str, Any]] = Future()
    destination.set_result({"path": str(tmp_path / "scan.mib"), "there": False})
    page.dashboard._application.uploads.ask = lambda _name, _size: destination
    content = bytes(3 * 2**20)
    where = f"/ptylive/upload?name=scan.mib&bytes={len(content)}"
    status, _, said = proxy.request("POST", where, content, Cookie=signed_in(proxy), **OURS)
    assert (status, said) == (200, b'{"file": "scan.mib", "there": false}')
    assert (tmp_path / "scan.mib").read_bytes() == content


@pytest.mark.parametrize(
    ("language", "name"), [("nginx", "ptylive.nginx"), ("apache", "ptylive.apache"), ("caddy", "Caddyfile")]
)
def test_the_document_shows_what_is_tried(language, name):
    text = (ROOT / "docs/how-to/remote.md").read_text(encoding="utf-8")
    (shown,) = re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)
    assert shown == (PROXIES / name).read_text(encoding="utf-8")
