"""Results files in h5web, built from its own packages and viewed in Chromium."""

import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from results_writers import refine, save

pytestmark = [pytest.mark.peers, pytest.mark.browser, pytest.mark.timeout(900)]
PACKAGES = (
    *("react@18", "react-dom@18", "@h5web/app@16.0.1", "@h5web/h5wasm@16.0.1", "h5wasm-plugins@0.2.0"),
    "esbuild@0.25",
)
PROGRAM = """
import { createRoot } from 'react-dom/client';
import { App } from '@h5web/app';
import { H5WasmBufferProvider } from '@h5web/h5wasm';
import '@h5web/app/styles.css';

const path = new URLSearchParams(location.search).get('path');
const buffer = await (await fetch('results.h5')).arrayBuffer();
createRoot(document.getElementById('root')).render(
  <H5WasmBufferProvider filename="results.h5" buffer={buffer}><App initialPath={path} /></H5WasmBufferProvider>
);
"""
PAGE = """<!doctype html><link rel="stylesheet" href="out/main.css"><style>html,body,#root{height:100%;margin:0}</style>
<div id="root"></div><script type="module" src="out/main.js"></script>"""
BUNDLED = ("--bundle", "--format=esm", "--outdir=out", "--jsx=automatic", '--define:process.env.NODE_ENV="production"')
"""Options for esbuild."""


@pytest.fixture(scope="module")
def h5web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an h5web that shows a results file of ours; skips the test if there is no npm."""
    folder = tmp_path_factory.mktemp("h5web")
    if shutil.which("npm") is None:
        pytest.skip("no npm on this machine")
    (folder / "package.json").write_text('{"private": true}')
    install = ["npm", "install", "--no-audit", "--no-fund", "--legacy-peer-deps", *PACKAGES]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot install: {done.stderr.strip().splitlines()[-1]}")
    (folder / "main.jsx").write_text(PROGRAM)
    (folder / "index.html").write_text(PAGE)
    subprocess.run([folder / "node_modules/.bin/esbuild", "main.jsx", *BUNDLED], cwd=folder, check=True)
    save(folder / "results.h5")
    refine(folder / "results.h5", 1.0)
    yield from _served(folder)


def _served(folder: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """Chromium that renders WebGL on the CPU."""
    api = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine")
    drawn = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=drawn)
        yield running
        running.close()


@pytest.mark.parametrize(
    ("path", "heading"),
    [
        ("/", "obf, rad"),
        ("/entry/bf", "bf, rad"),
        ("/entry/run1_phase", "run1_phase: phase of the object, rad"),
        ("/entry/run1_object", "run1_object: transmission (amplitude)"),
    ],
)
def test_maps_and_objects_are_drawn_with_scale_and_unit(browser, h5web, path, heading):
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(f"{h5web}/index.html?path={path}")
    page.get_by_text(heading, exact=True).wait_for()
    for label in ("x (columns), Å", "y (rows), Å"):
        page.get_by_text(label, exact=True).wait_for()
    page.locator("canvas").first.wait_for()
    page.close()


def test_the_loss_is_a_curve_over_epochs(browser, h5web):
    page = browser.new_page()
    page.goto(f"{h5web}/index.html?path=/entry/run1_loss")
    for label in ("run1_loss: loss per pattern", "epoch", "loss per pattern"):
        page.get_by_text(label, exact=True).first.wait_for()
    page.close()
