// The value of this expression lists what is wrong with the page as it is shown now.
(() => {
  const problems = [];
  const shown = (e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && e.getClientRects().length > 0;
  const all = [...document.querySelectorAll("body *")].filter(shown);
  const byID = (list) => (list || "").split(" ").filter(Boolean).map((id) => document.getElementById(id)?.textContent.trim() || "").join(" ").trim();
  const nameOf = (e) => byID(e.getAttribute("aria-labelledby")) || e.getAttribute("aria-label") ||
    [...(e.labels || [])].map((l) => l.textContent.trim()).join(" ") || e.textContent.trim();
  const describe = (e) => e.tagName.toLowerCase() + (e.id ? "#" + e.id : "") + " " + JSON.stringify(e.textContent.trim().slice(0, 40));
  for (const e of all) {
    if (e.matches("a[href], button, input, canvas, nav, main, section, dialog, progress, table, [role=application]") && !e.matches("table") && !nameOf(e)) problems.push("no name: " + describe(e));
    if (e.matches("img:not([alt])")) problems.push("no alternative: " + describe(e));
    for (const attribute of ["aria-labelledby", "aria-describedby", "for"]) {
      for (const id of (e.getAttribute(attribute) || "").split(" ").filter(Boolean)) {
        if (!document.getElementById(id)) problems.push(attribute + " names nothing: " + describe(e));
      }
    }
    if (e.matches("a[href], button, input") && !e.closest("p, td, pre, .skip") && Math.min(e.offsetHeight, e.offsetWidth) < 24) problems.push("small target: " + describe(e));
    if (e.tabIndex > 0) problems.push("tabindex above 0: " + describe(e));
  }
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) problems.push("id twice: " + id);
  if (!document.documentElement.lang) problems.push("no language");
  if (!document.title) problems.push("no title");
  if (document.querySelectorAll("main").length !== 1) problems.push("not one main");
  let level = 0;
  for (const h of all.filter((e) => e.matches("h1, h2, h3, h4") && !e.closest("dialog"))) {
    const now = Number(h.tagName[1]);
    if (now > level + 1) problems.push("heading level skipped: " + describe(h));
    level = now;
  }
  // Contrast, as WCAG 2.2 defines it (1.4.3).
  const parse = (c) => (c.match(/[\d.]+/g) || []).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length && (c.length < 4 || c[3] === 1)) return c;
    }
    return [255, 255, 255];
  };
  const modal = document.querySelector("dialog[open]");
  let texts = 0;
  for (const e of all) {
    if (modal && !modal.contains(e)) continue;
    if (e.matches(".skip") || ![...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim())) continue;
    const a = luminance(parse(getComputedStyle(e).color)), b = luminance(ground(e));
    const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    texts++;
    if (contrast < 4.5) problems.push("contrast " + contrast.toFixed(2) + ": " + describe(e));
  }
  if (texts < 2) problems.push("only " + texts + " texts were looked at");
  if (document.documentElement.scrollWidth > innerWidth) {
    const wide = all.filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map(describe);
    problems.push("wider than the window: " + wide.slice(0, 5).join("; "));
  }
  return problems;
})()
