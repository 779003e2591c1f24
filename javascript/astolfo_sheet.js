// The cells of a grid or search as they come: a labelled sheet of pictures, the same as numbers, and curves with error
// bars. It needs astolfo.js and astolfo_curves.js.
// Without import and export: a WebUI loads this file as a plain script, the standalone page as a module.
(() => {
  "use strict";
  if (!window.astolfoTab || window.astolfoTab.showSheet) return;
  const tab = window.astolfoTab;
  const { make, number } = tab;
  const MOST_LINES = 8, MOST_PANELS = 6, FULL = 0.4, MANY_BLOCKS = 12; // share of a table's places that have a cell; else it is a list
  const LINES = ["uncond", "snapshot", "model_b", "prediction"]; // axes that are rather lines of a figure

  const key = (value) => JSON.stringify(value === undefined ? null : value);
  const isNumber = (value) => typeof value === "number";

  /** {axis: [{value, label}]} of what was planned and of what was made, numbers in their order. */
  function axesOf(cells, plan) {
    const found = {};
    const add = (name, value, label) => {
      const known = (found[name] ||= new Map());
      if (!known.has(key(value))) known.set(key(value), { value, label });
    };
    for (const [name, values] of Object.entries(plan.whole ? plan.axes : {})) values.forEach(({ value, label }) => add(name, value, label));
    for (const cell of cells) for (const [name, value] of Object.entries(cell.values)) add(name, value, cell.shown?.[name] ?? String(value));
    const sorted = (values) => (values.every(({ value }) => isNumber(value)) ? values.sort((a, b) => a.value - b.value) : values);
    return Object.fromEntries(Object.entries(found).map(([name, values]) => [name, sorted([...values.values()])]));
  }

  /** The combinations of the values of these axes, the first outermost. */
  const combinations = (axes, names) => names.reduce((made, name) => made.flatMap((one) => axes[name].map(({ value, label }) => [...one, { name, value, label }])), [[]]);

  /** How the cells are laid out: rows of one axis, columns of the others; null where they fill no table. */
  function layout(cells, plan) {
    const axes = axesOf(cells, plan), varied = Object.keys(axes).filter((name) => axes[name].length > 1);
    const most = [...varied].sort((a, b) => axes[b].length - axes[a].length)[0];
    const row = varied.includes("ratio") ? "ratio" : most || Object.keys(axes)[0];
    if (!row || (varied.includes("blocks") && axes.blocks.length > MANY_BLOCKS)) return null;
    const others = varied.filter((name) => name !== row);
    const at = (cell) => key([cell.values[row], ...others.map((name) => cell.values[name])]);
    const known = new Map(cells.map((cell) => [at(cell), cell]));
    const find = (value, column) => known.get(key([value, ...column.map((part) => part.value)]));
    const filled = (column) => axes[row].filter(({ value }) => find(value, column)).length;
    const columns = combinations(axes, others).filter((column) => plan.whole || filled(column) >= Math.min(2, axes[row].length));
    const rows = axes[row].filter(({ value }) => plan.whole || columns.some((column) => find(value, column)));
    const inside = new Set(rows.flatMap(({ value }) => columns.map((column) => find(value, column)))), rest = cells.filter((cell) => !inside.has(cell));
    if (!columns.length || (!plan.whole && cells.length - rest.length < FULL * columns.length * rows.length)) return null;
    return { row, others, columns, rows, find, rest };
  }

  const loss = (value, better) => (better === "higher" ? -value : isNumber(better) ? Math.abs(value - better) : value);
  const of = (cell, score) => cell?.scores?.[score]?.mean;

  /** Cells by how good they are, the best first; those without the score last. */
  function ranked(cells, score, better) {
    const place = (cell) => (isNumber(of(cell, score)) ? loss(of(cell, score), better) : Infinity);
    return [...cells].sort((a, b) => place(a) - place(b));
  }

  const words = (cell, score) => {
    const found = cell.scores?.[score];
    return found && isNumber(found.mean) ? `${number(found.mean)}${isNumber(found.error) ? ` ± ${number(Number(found.error.toPrecision(2)))}` : ""}` : "";
  };
  const tooltip = (cell) => [cell.label, ...Object.keys(cell.scores || {}).map((name) => `${name} ${words(cell, name)}`)].join("\n");

  /** One cell: its pictures or its number, a link to where it is looked at. */
  function place(view, cell, { score, numbers, rank, count, best }) {
    const children = [];
    if (numbers) children.push(make("span", { class: "astolfo-cell-number" }, words(cell, score) || "–"));
    else if (cell.picture) children.push((view.images[cell.picture] ||= make("img", { src: view.address(cell.picture), alt: cell.label, loading: "lazy" })), make("small", {}, words(cell, score)));
    const link = make("a", { class: "astolfo-cell", href: view.open(cell), target: "_blank", title: tooltip(cell) }, ...children);
    if (best) link.append(make("small", { class: "astolfo-cell-best" }, "best"));
    if (numbers && count > 1) link.style.setProperty("--share", `${Math.round(60 * (1 - rank / (count - 1)) ** 2)}%`);
    return link;
  }

  function head({ columns, others, row }, names) {
    if (!others.length) return [make("tr", {}, make("th", {}, names[row] || row), make("th", {}, ""))];
    return others.map((name, level) => {
      const cells = [];
      columns.forEach((column) => {
        const label = `${names[name] || name} ${column[level].label}`, last = cells[cells.length - 1];
        const path = key(column.slice(0, level + 1).map((part) => part.value));
        if (last && last.dataset.path === path) last.colSpan += 1;
        else cells.push(make("th", { "data-path": path, scope: "colgroup", colspan: 1 }, label));
      });
      return make("tr", {}, make("th", {}, level === others.length - 1 ? names[row] || row : ""), ...cells);
    });
  }

  /** The sheet: a table with labelled axes, or a list with the best first where the cells fill no table; elements. */
  function sheet(view, cells, plan, { score, numbers }) {
    const better = plan.scores?.[score] ?? "none", order = better === "none" ? [] : ranked(cells, score, better).filter((cell) => isNumber(of(cell, score)));
    const rank = new Map(order.map((cell, index) => [cell, index]));
    const facts = (cell) => ({ score, numbers: numbers || !cell.picture, rank: rank.get(cell) ?? order.length, count: order.length, best: order[0] === cell });
    const laid = layout(cells, plan), names = plan.words || {};
    const list = (some) => make("ol", { class: "astolfo-cell-list" }, ...some.map((cell) => make("li", {}, place(view, cell, facts(cell)), make("span", {}, cell.label))));
    if (!laid) return [list(order.length ? order : cells)];
    const body = laid.rows.map(({ value, label }) => make("tr", {}, make("th", { scope: "row" }, label), ...laid.columns.map((column) => {
      const cell = laid.find(value, column);
      return make("td", cell ? {} : { class: "astolfo-cell-none" }, cell ? place(view, cell, facts(cell)) : "");
    })));
    const table = make("div", { class: "astolfo-grid", tabindex: 0, role: "region", "aria-label": "Cells by their axes" }, make("table", {}, make("thead", {}, ...head(laid, names)), make("tbody", {}, ...body)));
    return laid.rest.length ? [table, make("h4", {}, "Besides"), list(laid.rest)] : [table];
  }

  // ---- curves with error bars ----

  const same = (values, wanted) => Object.entries(wanted || {}).every(([name, value]) => key(values[name]) === key(value));

  function curves(cells, plan, score, optima) {
    const axes = axesOf(cells, plan), numeric = Object.keys(axes).filter((name) => axes[name].length > 2 && axes[name].every(({ value }) => isNumber(value)));
    const x = numeric.includes("ratio") ? "ratio" : numeric[0];
    if (!x) return [];
    const others = Object.keys(axes).filter((name) => name !== x && axes[name].length > 1);
    const line = LINES.find((name) => others.includes(name)) || others[0];
    const panels = new Map();
    for (const cell of cells.filter((one) => isNumber(of(one, score)) && isNumber(one.values[x]))) {
      const rest = others.filter((name) => name !== line);
      const panel = rest.map((name) => `${plan.words?.[name] || name} ${cell.shown?.[name] ?? "–"}`).join(", ");
      const lines = panels.get(panel) || panels.set(panel, new Map()).get(panel);
      const name = line ? (line === "uncond" ? `${cell.shown?.[line] ?? "–"} uncond` : `${plan.words?.[line] || line} ${cell.shown?.[line] ?? "–"}`) : "";
      (lines.get(name) || lines.set(name, []).get(name)).push(cell);
    }
    return [...panels].slice(0, MOST_PANELS).map(([panel, lines]) => {
      const drawn = [...lines].filter(([, found]) => found.length > 1).slice(0, MOST_LINES).map(([name, found]) => ({ name, dots: true, points: found.map((cell) => [cell.values[x], of(cell, score), cell.scores[score].error]).sort((a, b) => a[0] - b[0]) }));
      const marks = x === "ratio" ? (optima || []).filter((one) => isNumber(one.ratio) && [...lines.values()].some((found) => found.some((cell) => same(cell.values, one.values)))) : [];
      const told = marks.map((one) => ({ at: one.ratio, kind: "optimum", text: `${one.where}: best at ${number(one.ratio)}, 95 % interval ${number(one.low)} to ${number(one.high)}` }));
      return tab.figure([score, panel].filter(Boolean).join(" · "), drawn, { x: plan.words?.[x] || x, marks: told, help: "Bars are one standard error; dashed: the optimum" });
    }).filter(Boolean);
  }

  // ---- the exhaustion table ----

  const LEVELS = { found: "found", caution: "caution", note: "note" };

  function rowOf(view, row, primary) {
    const picture = row.picture ? make("a", { href: view.address(row.picture), target: "_blank" }, (view.images[row.picture] ||= make("img", { src: view.address(row.picture), alt: `${row.prediction}, ${row.uncond} uncond`, loading: "lazy" }))) : "";
    const score = primary && row.scores[primary] ? words(row, primary) : "";
    const gap = isNumber(row.nats) ? number(Number(row.nats.toPrecision(3))) : "";
    const said = [row.verdict, row.reason].filter(Boolean).join("; ");
    const cells = [row.prediction, row.uncond, picture, gap, row.probe || "", score, said];
    return make("tr", { "data-level": LEVELS[row.level] || "note" }, ...cells.map((value) => make("td", {}, value)));
  }

  /** Models by prediction and uncond: the probe's figures, pictures and verdicts; while it runs what is drawn so far. */
  function exhaustion(view, result, drawn) {
    if (!result || !result.models) {
      return [make("ol", { class: "astolfo-cell-list" }, ...drawn.map(({ text, data }) => make("li", {}, (view.images[data.picture] ||= make("img", { src: view.address(data.picture), alt: text, loading: "lazy" })), make("span", {}, text))))];
    }
    const heads = ["Prediction", "Uncond", "Pictures", "Gap (nats)", "Probe", result.primary || "Score", "Verdict"];
    return result.models.map((model) => make("section", { class: "astolfo-report" },
      make("h4", {}, model.name), make("p", { class: "astolfo-about" }, [model.said && `says ${model.said}`, model.note].filter(Boolean).join(" · ")),
      make("div", { class: "astolfo-table astolfo-exhaustion" }, make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((word) => make("th", { scope: "col" }, word)))), make("tbody", {}, ...model.rows.map((row) => rowOf(view, row, result.primary))))),
    ));
  }

  Object.assign(tab, { exhaustion, showSheet: sheet, sheetCurves: curves });
})();
