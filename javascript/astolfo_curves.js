// Curves of a training, as small SVG figures that follow the page's colours. It needs astolfo.js.
// Without import and export: a WebUI loads this file as a plain script, the standalone page as a module.
(() => {
  "use strict";
  if (!window.astolfoTab || window.astolfoTab.showCurves) return;
  const { make, number } = window.astolfoTab;

  const WIDTH = 360, HEIGHT = 190, LEFT = 46, RIGHT = 10, TOP = 10, BOTTOM = 26; // user units of the figures
  const SPAN = 24; // groups of steps in a running mean
  const BANDS = [["low noise", (bin) => bin <= 2], ["middle", (bin) => bin > 2 && bin < 6], ["high noise", (bin) => bin >= 6]];

  function svg(tag, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  /** Round numbers between two ends, at most about five. */
  function ticks(low, high, whole) {
    const rough = Math.max((high - low) / 4, whole ? 1 : 0) || 1, unit = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * unit).find((size) => size >= rough);
    const found = [];
    for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) found.push(Number(at.toPrecision(12)));
    return found;
  }

  /** Tens between two ends of a logarithmic axis; where there are few, 2 and 5 of them too. */
  function tens(low, high) {
    const found = [];
    const factors = high - low > 1.5 ? [1] : [1, 2, 5];
    for (let ten = Math.floor(low); ten <= Math.ceil(high); ten += 1) {
      for (const factor of factors) {
        const at = Math.log10(factor) + ten;
        if (at >= low - 1e-9 && at <= high + 1e-9) found.push(at);
      }
    }
    return found;
  }

  /** One figure. lines: [{name, points: [[x, y, error?]], dots}]; log: the y axis is logarithmic. */
  function figure(title, lines, { x = "step", log = false, zero = false, marks = [], help = "" } = {}) {
    const known = lines.map((line) => ({ ...line, points: line.points.filter(([at, y]) => Number.isFinite(at) && Number.isFinite(y) && (!log || y > 0)) })).filter((line) => line.points.length);
    const place = make("figure", { class: "astolfo-curve" }, make("figcaption", { title: help }, title));
    if (!known.length) return null;
    const every = known.flatMap((line) => line.points.map((point) => point[1]));
    log = log && Math.max(...every) > 3 * Math.min(...every);
    const scale = log ? Math.log10 : (value) => value;
    const xs = known.flatMap((line) => line.points.map((point) => point[0]));
    const ys = known.flatMap((line) => line.points.flatMap(([, y, error]) => (error ? [y, Math.max(y - error, log ? y / 10 : -Infinity), y + error] : [y]))).map(scale);
    const [left, right] = [Math.min(...xs), Math.max(...xs)];
    let [low, high] = [Math.min(...ys), Math.max(...ys)];
    const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    [low, high] = [zero && !log ? Math.min(0, low) : low - room, high + room];
    const px = (value) => LEFT + ((value - left) / (right - left || 1)) * (WIDTH - LEFT - RIGHT);
    const py = (value) => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
    const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title });
    for (const at of log ? tens(low, high) : ticks(low, high)) {
      drawing.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: py(at), y2: py(at) }));
      drawing.append(svg("text", { x: LEFT - 5, y: py(at) + 3.5, "text-anchor": "end" }, log ? label(10 ** at) : label(at, high - low)));
    }
    for (const at of ticks(left, right, x === "step")) drawing.append(svg("text", { x: px(at), y: HEIGHT - 10, "text-anchor": "middle" }, label(at)));
    for (const mark of marks.filter(({ at }) => at >= left && at <= right)) {
      drawing.append(svg("line", { class: `mark ${mark.kind}`, x1: px(mark.at), x2: px(mark.at), y1: TOP, y2: HEIGHT - BOTTOM }, svg("title", {}, mark.text)));
    }
    known.forEach((line) => drawLine(drawing, line, px, Object.assign((value) => py(scale(value)), { linear: !log }), lines.findIndex((one) => one.name === line.name)));
    place.append(drawing, legend(known, lines, x));
    follow(place, drawing, known, { px, left, right, x });
    return place;
  }

  /** A number at an axis, with as many digits as tell it from its neighbours. */
  function label(value, span) {
    const digits = Math.min(8, Math.max(3, span ? Math.ceil(Math.log10(Math.abs(value) / span || 1)) + 2 : 3));
    if (Math.abs(value) >= 10000) return `${number(value / 1000)}k`;
    return value && Math.abs(value) < 0.001 ? Number(value.toPrecision(digits - 1)).toExponential() : String(Number(value.toPrecision(digits)));
  }

  function drawLine(drawing, line, px, py, index) {
    const place = (point) => `${px(point[0]).toFixed(1)},${py(point[1]).toFixed(1)}`;
    if (line.points.length > 1) drawing.append(svg("polyline", { class: `line c${index} ${line.faint ? "faint" : ""}`, points: line.points.map(place).join(" ") }));
    if (!line.dots && line.points.length > 1) return;
    for (const [at, y, error] of line.points) {
      if (error) drawing.append(svg("line", { class: `line c${index}`, x1: px(at), x2: px(at), y1: py(y - error > 0 || py.linear ? y - error : y / 10), y2: py(y + error) }));
      drawing.append(svg("circle", { class: `dot c${index}`, cx: px(at), cy: py(y), r: 2.6 }));
    }
  }

  function legend(known, lines, x) {
    const place = make("div", { class: "astolfo-legend" });
    const named = known.filter((line) => line.name);
    for (const line of named) place.append(make("span", { class: `c${lines.findIndex((one) => one.name === line.name)}` }, line.name));
    place.append(make("span", { class: "astolfo-axis" }, x));
    return place;
  }

  /** What the lines say where the pointer is. */
  function follow(place, drawing, lines, { px, left, right, x }) {
    const words = make("output", { class: "astolfo-reading" });
    place.append(words);
    drawing.addEventListener("pointermove", (event) => {
      const box = drawing.getBoundingClientRect(), at = ((event.clientX - box.left) / box.width) * WIDTH;
      const wanted = left + ((at - LEFT) / (WIDTH - LEFT - RIGHT)) * (right - left);
      const near = (line) => line.points.reduce((best, point) => (Math.abs(point[0] - wanted) < Math.abs(best[0] - wanted) ? point : best));
      const found = lines.map((line) => [line.name, near(line)]);
      words.textContent = `${x} ${number(found[0][1][0])}: ${found.map(([name, point]) => `${name ? `${name} ` : ""}${number(point[1])}`).join(" · ")}`;
    });
    drawing.addEventListener("pointerleave", () => { words.textContent = ""; });
    return px;
  }

  /** Running mean of groups of steps, weighted by how many steps they are. */
  function smooth(groups, value) {
    const points = [];
    let held = [];
    for (const group of groups) {
      const [sum, count] = value(group);
      if (!count) continue;
      held.push([sum, count]);
      if (held.length > SPAN) held = held.slice(1);
      points.push([group.step, held.reduce((all, one) => all + one[0], 0) / held.reduce((all, one) => all + one[1], 0)]);
    }
    return points;
  }

  const ofBins = (wanted) => (group) => group.bins.filter(([place]) => wanted(place % 9)).reduce(([sum, count], [, n, total]) => [sum + total, count + n], [0, 0]);
  const mean = (name) => (group) => (group[name] == null ? [0, 0] : [group[name] * group.count, group.count]);

  /** Loss at each noise level: at the start, and now. */
  function levels(groups, edges) {
    const part = Math.max(1, Math.floor(groups.length / 10));
    const centres = [edges[0] - 0.5, ...edges.slice(1).map((edge, at) => (edge + edges[at]) / 2), edges[edges.length - 1] + 0.5];
    const line = (name, some) => ({ name, dots: true, points: centres.map((centre, bin) => {
      const [sum, count] = some.map(ofBins((place) => place === bin)).reduce(([a, b], [c, d]) => [a + c, b + d], [0, 0]);
      return [centre, count ? sum / count : NaN];
    }) });
    return [line("first tenth", groups.slice(0, part)), line("last tenth", groups.slice(-part))];
  }

  /** The figures of a history as GET /training/{name}/curves gives it, gathered over several answers. */
  function showCurves(place, told) {
    const start = told.start[0] || { measure: "raw", edges: [-4, -3, -2, -1, 0, 1, 2, 3] };
    const measured = start.measure === "relative" ? "loss ÷ the least possible" : "loss";
    const marks = [...told.alarm.map((row) => ({ at: row.step, kind: "alarm", text: row.text })), ...told.rollback.map((row) => ({ at: row.step, kind: "alarm", text: `rolled back from step ${row.from}: ${row.text}` }))];
    const sets = [...new Set(told.validation.map((row) => row.set))];
    const drift = told.drift, rows = [
      figure(`${measured}, by noise`, BANDS.map(([name, wanted]) => ({ name, points: smooth(told.steps, ofBins(wanted)) })), { log: true, marks, help: "Mean over the last steps; low, middle and high noise" }),
      figure(`${measured}, by noise level`, levels(told.steps, start.edges), { x: "ln(σ/α): picture … noise", log: true, help: "The same scale for every objective" }),
      figure("validation", sets.map((set) => ({ name: set.replaceAll("_", " "), dots: true, points: told.validation.filter((row) => row.set === set).map((row) => [row.step, row.mean, row.error]) })), { marks, help: "Fixed noise: held-out pictures rising while trained ones fall is learning by heart" }),
      figure("share of weights that move", [{ name: "", points: smooth(told.steps, mean("moved")) }], { zero: true, help: "0 means that updates are lost in rounding" }),
      figure("gradient norm", [{ name: "", points: smooth(told.steps, mean("norm")) }], { log: true }),
      figure("learning rate", [{ name: "", points: told.steps.map((group) => [group.step, group.rate]) }], { zero: true }),
    ];
    if (drift.length) rows.push(figure("uncond drift", [["low noise", "low"], ["where text matters", "high"]].map(([name, key]) => ({ name, dots: true, points: drift.map((row) => [row.step, row[key] == null ? NaN : row[key]]) })), { help: "Error under zero over error under null: 1 is equal" }));
    place.replaceChildren(...rows.filter(Boolean));
  }

  Object.assign(window.astolfoTab, { figure, showCurves });
})();
