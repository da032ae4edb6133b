"""What a page tells a screen reader: Chromium's accessibility tree, and what is wrong with it."""

from itertools import pairwise

NAMED = {"image", "button", "link", "checkbox", "radio", "combobox", "textbox", "form", "region"}
NAMED |= {"table", "navigation", "radiogroup", "DisclosureTriangle"}
LANDMARKS = ("banner", "navigation", "main", "contentinfo")


def tree(page):
    """The nodes that are told, as (role, name, level) in the order of the page's elements."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    return [
        (node["role"]["value"], node.get("name", {}).get("value", "").strip(), node)
        for node in nodes
        if not node["ignored"]
    ]


def faults(page):
    """Everything that has no name, no header or no place; empty where all is well."""
    nodes = tree(page)
    found = [f"{role} without a name" for role, name, _ in nodes if role in NAMED and not name]
    levels = page.locator("h1, h2, h3, h4, h5, h6").evaluate_all(
        "all => all.map(h => +h.tagName[1])"
    )
    found += [f"a heading {b} below a heading {a}" for a, b in pairwise(levels) if b > a + 1]
    if levels.count(1) != 1 or levels[0] != 1:
        found.append(f"headings: {levels}")
    roles = [role for role, _, _ in nodes]
    found += [f"{roles.count(role)} x {role}" for role in LANDMARKS if roles.count(role) != 1]
    # A picture's parts are not told one by one.
    found += ["the parts of a plot are told"] * (roles.count("SvgRoot") > 0)
    found += page.evaluate(
        """() => [...document.querySelectorAll("table")].flatMap((table) => {
          const heads = [...table.querySelectorAll("th")];
          const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
          const name = table.caption?.textContent.trim();
          return [
            name ? "" : "a table without a caption",
            heads.every((head) => head.scope) ? "" : `${name}: a header of nothing`,
            rows.every((row) => row.querySelector("th")) ? "" : `${name}: a row without a header`,
          ].filter(Boolean);
        })"""
    )
    found += page.evaluate(
        """() => [...document.querySelectorAll("[tabindex='0']")]
          .filter((place) => !place.ariaLabel)
          .map((place) => `a stop without a name: ${place.outerHTML.slice(0, 80)}`)"""
    )
    return found
