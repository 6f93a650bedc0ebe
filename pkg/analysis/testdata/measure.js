// Measures the pages in all frames and writes the results as JSON into #result.
const channel = c => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
const parts = text => text.match(/[\d.]+/g).map(Number);
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
// contrast is the ratio of WCAG 2.2 for two opaque colours.
const contrast = (a, b) => {
  const [high, low] = [luminance(parts(a)), luminance(parts(b))].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
};
function measure(frame) {
  const doc = frame.contentDocument, win = frame.contentWindow;
  doc.querySelectorAll('details').forEach(d => { d.open = true; });
  const page = win.getComputedStyle(doc.body).backgroundColor;
  const result = { width: frame.clientWidth, scroll: doc.documentElement.scrollWidth, page, images: 0, texts: 0, outside: [], overlap: [], faint: [] };
  for (const svg of doc.querySelectorAll('svg')) {
    if (win.getComputedStyle(svg).display === 'none') continue;
    result.images++;
    const box = svg.viewBox.baseVal, placed = [];
    for (const text of svg.querySelectorAll('text')) {
      const b = text.getBBox(), name = svg.querySelector('title').textContent + ': ' + text.textContent;
      result.texts++;
      if (b.x < box.x - 0.01 || b.y < box.y - 0.01 || b.x + b.width > box.x + box.width + 0.01 || b.y + b.height > box.y + box.height + 0.01) result.outside.push(name);
      // A line of text is taller than its letters.
      const inner = { x: b.x, y: b.y + 3, right: b.x + b.width, bottom: b.y + b.height - 3 };
      for (const o of placed) {
        if (inner.x < o.right && o.x < inner.right && inner.y < o.bottom && o.y < inner.bottom) result.overlap.push(name + ' / ' + o.name);
      }
      placed.push({ ...inner, name: text.textContent });
      const ratio = contrast(win.getComputedStyle(text).fill, page);
      if (ratio < 4.5) result.faint.push(name + ' ' + ratio.toFixed(2));
    }
  }
  for (const element of doc.querySelectorAll('h1, h2, h3, p, li, dt, dd, summary, caption, th, td')) {
    const ratio = contrast(win.getComputedStyle(element).color, page);
    if (ratio < 4.5) result.faint.push(element.textContent + ' ' + ratio.toFixed(2));
  }
  return result;
}
addEventListener('load', () => {
  document.getElementById('result').textContent = JSON.stringify([...document.querySelectorAll('iframe')].map(measure));
});
