// Two to four cells compared: side by side, wiped, blended, in turn, and as a map of their difference.
(() => {
  "use strict";
  const { look } = window, { $, make, state } = look;
  const MODES = { side: ["Side by side", "s"], wipe: ["Wipe", "w"], blend: ["Blend", "b"], flicker: ["Flicker", "f"], difference: ["Difference", "d"] };
  const FLICKER = 450; // milliseconds
  const TOPS = { auto: 0, "8": 8, "32": 32, "128": 128, "255": 255 };
  const RAMP = [[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]]; // black to bright
  const own = { mode: "side", part: 0.5, turn: 0, active: 1, top: "auto", timer: 0, alone: -1 };
  look.compareState = own;

  /** The cells that are compared: those chosen, else the focus beside the best one or its neighbour. */
  look.compared = () => {
    const chosen = state.chosen.map(look.cell).filter(Boolean), focus = look.cell(state.focus);
    if (chosen.length >= 2 || !focus) return chosen;
    const others = [chosen[0], look.cell(state.view.best), look.neighbour(focus, 1, 0), look.neighbour(focus, 0, 1), look.neighbour(focus, -1, 0), look.neighbour(focus, 0, -1), ...look.cells()];
    const other = others.find((cell) => cell && cell.id !== focus.id);
    return other ? [other, focus] : [focus];
  };

  look.enterCompare = () => {
    state.chosen = look.compared().map((cell) => cell.id);
    Object.assign(own, { active: Math.min(1, state.chosen.length - 1), alone: -1 });
  };

  look.compare = () => {
    const cells = look.compared();
    clearInterval(own.timer);
    own.active = Math.min(own.active, cells.length - 1);
    const single = own.mode !== "side", stage = make("div", { class: `stage ${own.mode}` });
    const columns = cells.length === 4 && window.innerWidth < 1500 ? 2 : cells.length;
    stage.style.gridTemplateColumns = single ? "minmax(0, 1fr)" : `repeat(${columns}, minmax(0, 1fr))`;
    const tall = Math.max(260, window.innerHeight - 300);
    if (single) stage.style.maxWidth = `${Math.round(tall / look.aspect)}px`;
    else if (columns * tall / look.aspect < window.innerWidth) stage.style.maxWidth = `${Math.round((columns * tall) / look.aspect)}px`;
    stage.append(...(single ? [both(cells)] : cells.map((cell, index) => side(cell, index))));
    $("compare").replaceChildren(modes(), ...cells.length ? [steppers(cells), stage] : [make("p", { class: "note" }, "Choose cells in the grid with the space bar first.")], legend(cells));
    if (own.mode === "flicker") own.timer = setInterval(() => { own.turn = 1 - own.turn; look.drawCompare(); }, FLICKER);
  };

  const modes = () => make("div", { class: "row" }, make("span", { class: "buttons" }, ...Object.entries(MODES).map(([name, [words, key]]) => make("button", { type: "button", "data-mode": name, "aria-pressed": own.mode === name, title: `${words} (${key})`, onclick: () => look.setMode(name) }, words)), make("button", { type: "button", title: "Change sides (x)", onclick: () => look.act("swap") }, "⇄")));

  /** For the cell in hand a slider along every axis: the other ratio is one step away. */
  function steppers(cells) {
    const cell = cells[own.active], row = make("div", { class: "row" });
    for (const [index, axis] of state.view.axes.entries()) {
      if (axis.values.length < 2) continue;
      const input = make("input", { type: "range", min: 0, max: axis.values.length - 1, value: cell.at[index], "data-step": axis.name, "aria-label": axis.words });
      const word = make("b", {}, axis.values[cell.at[index]].text);
      input.addEventListener("input", () => {
        const next = look.cellAt({ [index]: Number(input.value) }, cell.at);
        word.textContent = axis.values[Number(input.value)].text + (next ? "" : " (not there)");
        if (next && next.id !== cell.id) { state.chosen[own.active] = next.id; look.refresh(true); document.querySelector(`[data-step="${axis.name}"]`)?.focus(); }
      });
      row.append(make("label", {}, make("span", {}, `${"ABCD"[own.active]} · ${axis.words} `, word), input));
    }
    if (own.mode === "wipe" || own.mode === "blend") {
      const input = make("input", { type: "range", min: 0, max: 1, step: 0.005, value: own.part, id: "part", "aria-label": `${own.mode}: from A to B` });
      input.addEventListener("input", () => { own.part = Number(input.value); look.drawCompare(); });
      row.append(make("label", {}, own.mode === "wipe" ? "B | A" : "A – B", input));
    }
    if (own.mode === "difference") {
      row.append(make("label", {}, "Full colour at (of 255)", make("select", { id: "top", onchange: (event) => { own.top = event.target.value; look.drawCompare(); } }, ...Object.keys(TOPS).map((name) => make("option", { value: name, selected: own.top === name }, name)))));
    }
    return row;
  }

  const caption = (cell, letter) => make("figcaption", {}, `${letter} · ${cell.label}`, make("small", {}, Object.entries(cell.scores).map(([name, value]) => `${name} ${look.scoreWords(value)}`).join(" · ")));

  function side(cell, index) {
    const canvas = make("canvas", { role: "img", "aria-label": cell.label });
    canvas.cellId = cell.id;
    look.handle(canvas, true);
    const figure = make("figure", { class: index === own.active ? "active" : "", onclick: () => { own.active = index; look.refresh(); } }, canvas, caption(cell, "ABCD"[index]));
    figure.hidden = own.alone >= 0 && own.alone !== index;
    return figure;
  }

  function both(cells) {
    const canvas = make("canvas", { role: "img", id: "both", "aria-label": cells.map((cell) => cell.label).join(" and ") });
    look.handle(canvas, true);
    if (own.mode === "wipe") canvas.addEventListener("pointermove", (event) => {
      if (!event.buttons || state.scale > 1) return;
      const box = canvas.getBoundingClientRect();
      setPart((event.clientX - box.left) / box.width);
    });
    return make("figure", {}, canvas, ...cells.slice(0, 2).map((cell, index) => caption(cell, "AB"[index])));
  }

  function setPart(value) {
    own.part = Math.min(1, Math.max(0, value));
    if ($("part")) $("part").value = own.part;
    look.drawCompare();
  }
  look.movePart = (by) => setPart(own.part + by);

  const legend = (cells) => make("div", { class: "legend", id: "legend" }, own.mode === "flicker" && cells[1] ? "A and B in turn; 1 or 2 holds one" : "");

  look.setMode = (name) => { own.mode = name; own.alone = -1; look.refresh(); };

  /** Show only this one of the cells, or all again; in the other modes hold A or B. */
  look.alone = (index) => {
    if (index >= state.chosen.length) return;
    own.active = index;
    own.alone = own.alone === index ? -1 : index;
    look.refresh();
  };

  // ---- drawing ----

  look.drawCompare = () => {
    if (own.mode === "side") { document.querySelectorAll("#compare canvas").forEach((canvas) => canvas.cellId && look.draw(canvas, look.cell(canvas.cellId))); return; }
    const canvas = $("both"), [a, b] = look.compared();
    if (!canvas || !a) return;
    const again = () => { if (canvas.isConnected) look.drawCompare(); };
    const [first, second] = [look.source(a, state.picture, again), look.source(b || a, state.picture, again)];
    if (!first || !second) return;
    if (look.learnAspect(first)) look.soon();
    const [context, width, height] = look.prepare(canvas);
    const paint = (source) => look.paint(context, width, height, ...source);
    if (own.alone >= 0) paint([first, second][own.alone] || first);
    else if (own.mode === "wipe") wipe(context, width, height, () => paint(first), () => paint(second));
    else if (own.mode === "blend") { paint(first); context.globalAlpha = own.part; paint(second); context.globalAlpha = 1; }
    else if (own.mode === "flicker") paint(own.turn ? second : first);
    else heat(context, width, height, first, second);
    if (own.mode === "flicker") canvas.dataset.shown = own.turn ? "B" : "A";
  };

  function wipe(context, width, height, first, second) {
    const cut = own.part * width;
    first();
    context.save();
    context.beginPath();
    context.rect(0, 0, cut, height);
    context.clip();
    context.clearRect(0, 0, cut, height);
    second();
    context.restore();
    context.fillStyle = "#ffffff";
    context.fillRect(cut - 1.5, 0, 3, height);
    context.fillStyle = "#000000";
    context.fillRect(cut - 0.5, 0, 1, height);
  }

  /** A picture's colours, as many as it has. */
  function pixels([image, [x, y, width, height]]) {
    const canvas = make("canvas", { width: Math.round(width), height: Math.round(height) });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, x, y, width, height, 0, 0, canvas.width, canvas.height);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  }

  /** Per pixel the largest difference of its three channels, in 1/255; with mean over channels, largest, share above 1. */
  look.difference = (a, b) => {
    const count = a.width * a.height, values = new Uint8Array(count);
    let sum = 0, most = 0, changed = 0;
    for (let i = 0; i < count; i++) {
      const p = 4 * i, red = Math.abs(a.data[p] - b.data[p]), green = Math.abs(a.data[p + 1] - b.data[p + 1]), blue = Math.abs(a.data[p + 2] - b.data[p + 2]);
      const largest = Math.max(red, green, blue);
      values[i] = largest;
      sum += red + green + blue;
      if (largest > most) most = largest;
      if (largest > 1) changed++;
    }
    return { values, mean: sum / (3 * count), most, changed: changed / count };
  };

  function colour(share) {
    const at = Math.min(1, Math.max(0, share)) * (RAMP.length - 1), low = Math.min(Math.floor(at), RAMP.length - 2);
    return RAMP[low].map((value, channel) => Math.round(value + (at - low) * (RAMP[low + 1][channel] - value)));
  }

  function heat(context, width, height, first, second) {
    const [a, b] = [pixels(first), pixels(second)];
    if (a.width !== b.width || a.height !== b.height) { $("legend").textContent = "These pictures differ in size."; return; }
    const found = look.difference(a, b), top = TOPS[own.top] || Math.max(1, found.most);
    const colours = Array.from({ length: 256 }, (_, value) => colour(value / top)), map = new ImageData(a.width, a.height);
    found.values.forEach((value, i) => { map.data.set(colours[value], 4 * i); map.data[4 * i + 3] = 255; });
    const canvas = make("canvas", { width: a.width, height: a.height });
    canvas.getContext("2d").putImageData(map, 0, 0);
    look.paint(context, width, height, canvas, [0, 0, a.width, a.height]);
    showScale(found, top);
  }

  function showScale({ mean, most, changed }, top) {
    const strip = make("canvas", { width: 220, height: 14, role: "img", "aria-label": `colours from 0 to ${top} of 255` }), context = strip.getContext("2d");
    for (let x = 0; x < 220; x++) { context.fillStyle = `rgb(${colour(x / 219).join()})`; context.fillRect(x, 0, 1, 14); }
    const rough = state.offline?.reduced ? make("span", { class: "warn" }, "The pictures in this file were made smaller: differences are rough.") : null;
    const words = `mean ${look.number(mean)}/255 · largest ${most}/255 · ${(100 * changed).toFixed(1)} % of the pixels differ by more than 1/255`;
    $("legend").replaceChildren("0", strip, `${top}/255 (largest of red, green, blue)`, make("span", { id: "figures", "data-mean": mean, "data-most": most }, words), ...[rough].filter(Boolean));
  }

  look.stopCompare = () => clearInterval(own.timer);
})();
