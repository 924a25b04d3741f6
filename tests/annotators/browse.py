"""Open one task of Label Studio in a headless browser, as a person does, and print what it shows.

Runs in the environment that has playwright; the browser is the one that is installed on the system.
Prints a JSON object: "classes" offered, "regions" listed, "outlined" (how many pixels of the canvas
have the colour of outlines), the width and height of the "picture", and addresses "elsewhere" that
the page asked for (which it does not get).
"""

import argparse
import json
import os

from playwright.sync_api import Browser, Page, Route, TimeoutError, sync_playwright

ATTEMPTS = 3
WAIT = 90_000  # milliseconds for any one step; the machine may be busy
REGION = ".lsf-outliner-item__title"
OUTLINED = """color => {
    let count = 0;
    for (const canvas of document.querySelectorAll('.konvajs-content canvas')) {
        if (!canvas.width) continue;
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        for (let i = 0; i < data.length; i += 4)
            count += color.every((value, c) => data[i + c] === value) && data[i + 3] === 255;
    }
    return count;
}"""
PICTURE = """() => {
    const shown = document.querySelector('img[alt="image"]');
    return shown && shown.complete && shown.naturalWidth
        ? [shown.naturalWidth, shown.naturalHeight] : null;
}"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__)
    for name in ("browser", "address", "email", "password", "page"):
        result.add_argument(f"--{name}", required=True)
    result.add_argument("--outline", nargs=3, type=int, required=True, metavar=("R", "G", "B"))
    result.add_argument("--size", nargs=2, type=int, required=True, help="of the window")
    result.add_argument("--screenshot", help="PNG file to write")
    return result


def log_in(browser: Browser, args: argparse.Namespace, elsewhere: list[str]) -> Page:
    """A page whose user is logged in, and that reaches nothing but the server."""

    def only_this_server(route: Route) -> None:
        if route.request.url.startswith((args.address, "data:", "blob:")):
            route.continue_()
        else:
            elsewhere.append(route.request.url)
            route.abort()

    width, height = args.size
    context = browser.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(WAIT)
    context.route("**/*", only_this_server)
    page = context.new_page()
    page.goto(f"{args.address}/user/login/")
    page.fill("[name=email]", args.email)
    page.fill("[name=password]", args.password)
    page.click("[type=submit]")
    page.wait_for_url(lambda url: "login" not in url)
    return page


def open_task(page: Page, address: str, outline: list[int]) -> None:
    """Open the page of a task, and wait for the picture and the outlines of asked regions.

    On a slow machine the first page of a new server sometimes stays without the shapes, whatever
    the task, until somebody loads it anew.
    """
    for attempt in range(ATTEMPTS):
        page.goto(address)
        try:
            page.wait_for_function(PICTURE)
            page.wait_for_function(f"color => ({OUTLINED})(color) > 0", arg=outline)
            return
        except TimeoutError as error:
            if attempt + 1 == ATTEMPTS:
                shown = page.locator("body").inner_text()
                raise SystemExit(f"{address}: no outlines; the page shows:\n{shown}") from error


def look(page: Page, outline: list[int]) -> dict[str, object]:
    """What the page of a task shows."""
    return {
        "classes": page.locator(".lsf-label__text").all_inner_texts(),
        "regions": page.locator(REGION).all_inner_texts(),
        "picture": page.evaluate(PICTURE),
        "outlined": page.evaluate(OUTLINED, outline),
    }


def main() -> None:
    args = parser().parse_args()
    elsewhere: list[str] = []
    # as root, Chromium starts only without its sandbox; it sees none but this one server
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    flags += ["--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=args.browser, args=flags)
        page = log_in(browser, args, elsewhere)
        open_task(page, args.address + args.page, args.outline)
        seen = look(page, args.outline)
        if args.screenshot:
            page.screenshot(path=args.screenshot)
        browser.close()
    print(json.dumps(seen | {"elsewhere": elsewhere}))


if __name__ == "__main__":
    main()
