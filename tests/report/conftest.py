import shutil

import pytest

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]


@pytest.fixture(scope="session")
def browser():
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no browser: the page is not opened (install chromium to have it tested)")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def watched(browser):
    """Opens an address; at the end nothing may have been logged, gone wrong, or been asked for.

    ``allowed`` are the beginnings of addresses that a page may ask for.
    """
    faults, contexts = [], []

    def open_page(uri, width, scheme, allowed=("file:", "data:")):
        def look(request):
            if not request.url.startswith(allowed):
                faults.append(f"request: {request.url}")

        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("request", look)
        page.goto(uri)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []
