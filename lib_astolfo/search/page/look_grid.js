// All cells: rows and columns by two axes, sliders for the others; or in the order of a score.
(() => {
  "use strict";
  const { look } = window, { $, make, state } = look;
  const SMALLEST = 84, LARGEST = 420;
  let size = 0; // of a cell in pixels; 0: what fits
  let seen = null; // watches which cells are in sight

  // ---- what is shown: axes, picture, score ----

  const option = (value, text, chosen) => make("option", { value, selected: String(value) === String(chosen) }, text);
  const select = (label, options, change, title) => make("label", { title }, label, make("select", { onchange: (event) => { change(event.target.value); look.refresh(); } }, options));

  function slider(label, shown, value, last, change, name) {
    const input = make("input", { type: "range", min: 0, max: last, value, "data-slider": name, "aria-label": label });
    const word = make("b", {}, shown(value));
    input.addEventListener("input", () => { word.textContent = shown(Number(input.value)); change(Number(input.value)); look.refresh(true); });
    return make("label", {}, make("span", {}, `${label} `, word), input);
  }

  look.controls = () => {
    const { view } = state, axes = view.axes.map((axis, index) => ({ ...axis, index })).filter((axis) => axis.values.length > 1), made = [];
    const names = (none) => [...(none ? [option(-1, "–", state.column)] : []), ...axes.map((axis) => option(axis.index, axis.words, none ? state.column : state.row))];
    if (axes.length && !state.sorted && state.mode === "grid") {
      made.push(select("Rows", names(false), (value) => pick("row", "column", Number(value))));
      made.push(select("Columns", names(true), (value) => pick("column", "row", Number(value))));
      for (const axis of axes.filter(({ index }) => index !== state.row && index !== state.column)) {
        made.push(slider(axis.words, (place) => axis.values[place].text, state.at[axis.index], axis.values.length - 1, (place) => hold(axis.index, place), axis.name));
      }
    }
    if (view.pictures > 1 && state.mode !== "votes") {
      const words = (index) => (index < 0 ? "all" : `${index + 1} of ${view.pictures}: ${promptOf(index)}`);
      made.push(slider("Picture", (value) => words(value - 1), state.picture + 1, view.pictures, (value) => { state.picture = value - 1; }, "picture"));
    }
    if (view.scores.length && state.mode === "grid") {
      made.push(select("Score shown", view.scores.map((score) => option(score.name, score.name, state.score)), (value) => { state.score = value; }, view.scores.find((one) => one.name === state.score)?.help));
      made.push(make("button", { type: "button", "aria-pressed": state.sorted, title: "The best first (o)", onclick: () => look.act("sort") }, "Sort by score"));
    }
    if (state.mode === "grid") {
      const wide = make("input", { type: "range", min: SMALLEST, max: LARGEST, value: width(), "aria-label": "Size of cells", oninput: (event) => { size = Number(event.target.value); layout(); look.redraw(); } });
      made.push(make("label", {}, "Cell size", wide));
    }
    if (state.mode !== "votes") made.push(zoomButtons());
    $("controls").replaceChildren(...made);
  };

  function zoomButtons() {
    const word = state.scale > 1 ? `${look.number(state.scale)}×` : "";
    return make("span", { class: "buttons" }, ...[["−", "out", "Zoom out (-)"], ["+", "in", "Zoom in (+)"], [`Whole ${word}`.trim(), "whole", "Whole pictures (0)"]].map(([text, act, title]) => make("button", { type: "button", title, onclick: () => look.act(act) }, text)));
  }

  const promptOf = (index) => {
    const scene = state.view.scenes[look.cell(state.focus)?.scene ?? 0];
    return scene ? scene.prompts[index % scene.prompts.length].slice(0, 60) : "";
  };

  function pick(one, other, axis) {
    if (state[other] === axis) state[other] = state[one];
    state[one] = axis;
    if (state.row < 0) [state.row, state.column] = [state.column, -1];
  }

  /** Move along an axis that has a slider; the focus goes along. */
  function hold(axis, place) {
    state.at[axis] = place;
    const focus = look.cell(state.focus), next = focus && look.cellAt({ [axis]: place }, focus.at);
    if (next) state.focus = next.id;
  }

  // ---- the cells ----

  const columnsOf = () => (state.column < 0 ? 1 : state.view.axes[state.column].values.length);
  const rowsOf = () => (state.row < 0 ? 1 : state.view.axes[state.row].values.length);

  /** The width of a cell: what fits beside the others, and at most three rows above each other. */
  function width() {
    if (size) return size;
    const wide = (($("grid").clientWidth || window.innerWidth) - 110) / (state.sorted ? 6 : columnsOf()) - 12;
    const tall = ((window.innerHeight - 190) / Math.min(rowsOf(), 3) - 34) / look.aspect;
    return Math.round(Math.min(LARGEST, Math.max(SMALLEST, Math.min(wide, Math.max(tall, 150)))));
  }

  function layout() {
    const cell = width();
    $("grid").style.gridTemplateColumns = state.sorted ? `repeat(auto-fill, minmax(${Math.max(cell, 120)}px, 1fr))` : `fit-content(180px) repeat(${columnsOf()}, ${cell}px)`;
    $("grid").style.setProperty("--cell", `${cell}px`);
  }

  look.grid = () => {
    const grid = $("grid"), kept = [grid.scrollLeft, grid.scrollTop];
    seen?.disconnect();
    seen = new IntersectionObserver((entries) => entries.forEach((entry) => { entry.target.inSight = entry.isIntersecting; if (entry.isIntersecting) drawOne(entry.target); }), { rootMargin: "200px" });
    layout();
    grid.replaceChildren(...(state.sorted ? ranked() : placed()));
    grid.querySelectorAll("canvas").forEach((canvas) => seen.observe(canvas));
    [grid.scrollLeft, grid.scrollTop] = kept;
  };

  const order = () => [...look.cells()].sort((a, b) => look.loss(a, state.score) - look.loss(b, state.score));
  const ranked = () => order().map((cell, index) => figure(cell, `${index + 1}. ${cell.label}`));

  function placed() {
    const { view } = state, row = view.axes[state.row], column = view.axes[state.column], made = [];
    const legend = [row && `${row.words} ↓`, column && `${column.words} →`].filter(Boolean).join("  ");
    made.push(make("div", { class: "head corner", title: [row?.help, column?.help].filter(Boolean).join("\n") }, legend));
    const heads = column ? column.values.map((value) => value.text) : [""];
    made.push(...heads.map((text, index) => make("div", { class: "head top", title: column?.values[index].label }, text)));
    (row ? row.values : [{ text: "", label: "" }]).forEach((value, r) => {
      made.push(make("div", { class: "head side", title: value.label }, value.text));
      heads.forEach((_, c) => {
        const cell = look.cellAt({ [state.row]: r, [state.column]: c });
        made.push(cell ? figure(cell) : make("div", { class: "hole" }, state.running ? "not yet" : "–"));
      });
    });
    return made;
  }

  function figure(cell, words) {
    const canvas = make("canvas", { role: "img", "aria-label": cell.label }), score = cell.scores[state.score], number = state.chosen.indexOf(cell.id);
    canvas.cellId = cell.id;
    canvas.style.aspectRatio = String(1 / look.aspect);
    const own = state.picture >= 0 && score?.[2]?.[state.picture];
    const text = score ? make("span", { title: Object.entries(cell.scores).map(([name, value]) => `${name} ${look.scoreWords(value)}`).join("\n") }, cell.id === state.view.best ? make("b", {}, "best ") : null, look.scoreWords(score)) : null;
    const failed = Object.entries(cell.failed || {}).map(([name, share]) => `${name}: ${Math.round(100 * share)} % of the pictures`);
    const caption = make("figcaption", {}, failed.length ? make("b", { class: "warn", title: `They look like failures. ${failed.join(", ")}` }, "⚠ ") : null, words ? make("span", {}, words) : null, text, typeof own === "number" && !words && width() > 210 ? make("span", { title: "this picture's" }, look.number(own)) : null);
    const names = ["cell", words && "wide", cell.id === state.view.best && "best", number >= 0 && "chosen", cell.id === state.focus && "focus"];
    const made = make("figure", { class: names.filter(Boolean).join(" "), "data-id": cell.id, role: "gridcell", title: cell.label }, canvas, caption, number >= 0 ? make("span", { class: "badge" }, number + 1) : null);
    made.addEventListener("click", (event) => { state.focus = cell.id; if (event.ctrlKey || event.metaKey || event.shiftKey) look.choose(cell.id); else state.info = true; look.refresh(); });
    made.addEventListener("dblclick", () => { state.focus = cell.id; look.act("compare"); });
    look.handle(canvas, false);
    canvas.style.touchAction = state.scale > 1 ? "none" : "pan-x pan-y";
    return made;
  }

  function drawOne(canvas) {
    const cell = look.cell(canvas.cellId);
    if (cell) look.draw(canvas, cell);
  }

  look.drawGrid = () => $("grid").querySelectorAll("canvas").forEach((canvas) => {
    canvas.style.touchAction = state.scale > 1 ? "none" : "pan-x pan-y";
    if (canvas.inSight) drawOne(canvas);
  });

  /** Move the focus by rows and columns, or along the order by score. */
  look.step = (down, right) => {
    const focus = look.cell(state.focus);
    if (!focus) return;
    let next;
    if (state.sorted) {
      const cells = order(), each = getComputedStyle($("grid")).gridTemplateColumns.split(" ").length;
      next = cells[Math.min(cells.length - 1, Math.max(0, cells.indexOf(focus) + right + down * each))];
    } else next = look.neighbour(focus, down, right);
    if (next) state.focus = next.id;
    look.refresh();
    document.querySelector(".cell.focus")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  };

  /** The next cell that is there, so many steps down and to the right. */
  look.neighbour = (cell, down, right) => {
    const at = [...cell.at], moves = [[state.row, down], [state.column, right]].filter(([axis, by]) => axis >= 0 && by);
    for (let tries = 0; tries < 1000 && moves.length; tries++) {
      for (const [axis, by] of moves) at[axis] += by;
      if (moves.some(([axis]) => at[axis] < 0 || at[axis] >= state.view.axes[axis].values.length)) return null;
      const found = state.byPlace.get(at.join());
      if (found) return found;
    }
    return null;
  };
})();
