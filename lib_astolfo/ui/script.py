"""Lines of JavaScript that events run in the browser; the rest are the files in javascript/."""

from __future__ import annotations

LOADER = """() => {
  if (window.astolfoTab || document.getElementById("astolfo_script")) return [];
  const names = ["astolfo", "astolfo_curves", "astolfo_data", "astolfo_train", "astolfo_sheet", "astolfo_search"];
  for (const name of [...names, "astolfo_compare", "astolfo_views"]) {
    const script = document.createElement("script");
    const src = new URL(`astolfo/static/${name}.js`, document.baseURI);
    Object.assign(script, {id: `${name}_script`, type: "module", async: false, src});
    document.head.append(script);
  }
  return [];
}"""
WAKE = "() => { if (window.astolfoTab) window.astolfoTab.wake(); return []; }"
REDRAW = "() => { if (window.astolfoTab) window.astolfoTab.redraw(); return []; }"
DRAWN = "() => { if (window.astolfoTab) window.astolfoTab.drawingEnds(); return []; }"
BARS = "() => { if (window.astolfoTab) window.astolfoTab.showBars(); return []; }"
CHECKED = "() => { if (window.astolfoTab) window.astolfoTab.checkEnds?.(); return []; }"
FILLED = "() => { if (window.astolfoTab) window.astolfoTab.fieldsFilled?.(); return []; }"
TO_MERGE = "() => { if (window.astolfoTab) window.astolfoTab.openTab?.('Merge'); return []; }"
