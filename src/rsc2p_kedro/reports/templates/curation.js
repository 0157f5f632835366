// The curation page of one recording: inspect components, set thresholds, accept or reject, save a curation table.
// Values from outside (names, reasons, notes) are shown as text; nothing here writes markup.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const [H, W] = data.shape;
const N_POINTS = Math.ceil(data.n_frames / data.frames_per_point);
const SVG = "http://www.w3.org/2000/svg";
const find = (id) => document.getElementById(id);
const byId = new Map(data.components.map((component, index) => [component.id, { ...component, index }]));
const ids = [...byId.keys()];

const state = {
  selected: null,
  thresholds: Object.fromEntries(data.thresholds.map((one) => [one.key, one.value])),
  decisions: new Map(data.decisions.map((d) => [d.id, { decision: d.decision, note: d.note }])),
  accepted: new Map(),
  accept: data.accept === null ? null : new Set(data.accept), // accepted classes
  hidden: new Set(), // classes that are not shown
  box: [-0.5, -0.5, W, H], // visible part of the field of view: x, y, width, height in px
  span: [0, N_POINTS], // visible part of the recording, in samples
  order: { column: null, falling: true },
  saved: true,
};
const evaluated = { ...state.thresholds };
const evaluatedAccept = data.accept === null ? null : new Set(data.accept);

function make(parent, tag, attributes = {}, text = null) {
  const inSvg = parent.namespaceURI === SVG;
  const element = inSvg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== null) element.textContent = text;
  parent.append(element);
  return element;
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

function format(value) {
  if (value === null || value === undefined || value === "") return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number" || Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3)
    ? value.toExponential(2)
    : String(Number(value.toPrecision(4)));
}

// The same, but with a fixed number of decimals, for columns of a list.
function formatFixed(column, value) {
  const decimals = { snr: 1, r_value: 3, classifier_score: 3 }[column] ?? (column.endsWith("_probability") ? 2 : undefined);
  return decimals === undefined || typeof value !== "number" ? format(value) : value.toFixed(decimals);
}

// The largest of 1, 2 and 5 times a power of ten that does not exceed a positive length.
function niceLength(length) {
  const power = 10 ** Math.floor(Math.log10(length));
  return [5, 2, 1].map((step) => step * power).find((nice) => nice <= length * (1 + 1e-9));
}

function titleOf(column) {
  const units = { px: "px", s: "s", hz: "Hz", um: "µm" };
  if (column === "component_class") return "class";
  const words = column.replace(/^snr$/, "SNR").split("_");
  const unit = units[words.at(-1)];
  return unit ? `${words.slice(0, -1).join(" ")} (${unit})` : column === "r_value" ? "r value" : words.join(" ").replace("snr", "SNR");
}

// ---- acceptance --------------------------------------------------------------------------------------------

const CLASSES = ["soma", "process", "out_of_focus", "other", "silent"].filter((name) => ids.some((id) => classOf(id) === name));

function classOf(id) {
  return byId.get(id).row.component_class ?? null;
}

// Class and its probability, which the silent ones do not have.
function describeClass(id) {
  const name = classOf(id);
  if (name === null) return "";
  const probability = name === "silent" ? null : byId.get(id).row[`${name}_probability`];
  const words = name.replaceAll("_", " ");
  return probability === null || probability === undefined ? words : `${words} ${probability.toFixed(2)}`;
}

function classPasses(row, thresholds, accept) {
  const name = row.component_class ?? null;
  if (name === null) return true;
  if (accept === null) return name !== "silent";
  return accept.has(name) && (name !== "soma" || row.soma_probability >= thresholds.min_soma_probability);
}

// The rule of the evaluation (class, no measure below its lower threshold, at least one at its upper one; only the class
// decides on silent components), and limits on the area.
function passes(component, thresholds, accept) {
  const area = component.row.area_px;
  if (area < thresholds.min_area || area > thresholds.max_area) return false;
  if (!classPasses(component.row, thresholds, accept)) return false;
  if (component.row.component_class === "silent") return true;
  const measured = Object.entries(data.measures).filter(([, column]) => component.row[column] !== null);
  const tooLow = measured.some(([name, column]) => component.row[column] < thresholds[`lowest_${name}`]);
  const enough = measured.some(([name, column]) => component.row[column] >= thresholds[`min_${name}`]);
  return !tooLow && enough;
}

function classify() {
  for (const [id, component] of byId) {
    const manual = state.decisions.get(id);
    state.accepted.set(id, manual ? manual.decision === "accept" : passes(component, state.thresholds, state.accept));
  }
}

function statusOf(id) {
  const manual = state.decisions.get(id);
  if (manual) return `${manual.decision === "accept" ? "accepted" : "rejected"} manually${manual.note ? ` (${manual.note})` : ""}`;
  return state.accepted.get(id) ? "accepted" : "rejected";
}

// Rows of the curation table: manual decisions, and components that the thresholds classify differently from the evaluation.
function curation() {
  const rows = [];
  for (const [id, component] of byId) {
    const manual = state.decisions.get(id);
    const now = passes(component, state.thresholds, state.accept);
    const centre = [component.row.centre_y_px.toFixed(2), component.row.centre_x_px.toFixed(2)];
    if (manual) rows.push([id, manual.decision, manual.note, ...centre]);
    else if (now !== passes(component, evaluated, evaluatedAccept)) rows.push([id, now ? "accept" : "reject", `thresholds: ${changedThresholds()}`, ...centre]);
  }
  return rows;
}

function changedThresholds(onlyParameters = false) {
  const changed = data.thresholds
    .filter((threshold) => state.thresholds[threshold.key] !== threshold.value && (threshold.parameter || !onlyParameters))
    .map((threshold) => `${threshold.key}: ${state.thresholds[threshold.key]}`);
  if (acceptChanged()) changed.push(`accept: [${[...state.accept].join(", ")}]`);
  return changed.join(", ");
}

function acceptChanged() {
  return state.accept !== null && (state.accept.size !== evaluatedAccept.size || [...state.accept].some((name) => !evaluatedAccept.has(name)));
}

function toCsv(rows) {
  const cell = (value) => (/[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  return [["component_id", "decision", "note", "centre_y_px", "centre_x_px"], ...rows].map((row) => row.map(cell).join(",") + "\n").join("");
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([toCsv(curation())], { type: "text/csv" }));
  link.download = `curation_${data.name}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  state.saved = true;
  showSaved();
}

// ---- the field of view -------------------------------------------------------------------------------------------

const field = find("field");
const picture = make(field, "image", { x: -0.5, y: -0.5, width: W, height: H, preserveAspectRatio: "none" });
const outlines = new Map();

function chooseImage(key) {
  picture.setAttribute("href", data.images.find((image) => image.key === key).uri);
  for (const button of find("images").children) button.setAttribute("aria-pressed", button.dataset.key === key);
}

function buildField() {
  const [high, wide] = data.pixel_size_um ?? [1, 1];
  field.style.aspectRatio = `${W * wide} / ${H * high}`;
  for (const { key, label } of data.images) {
    const button = make(find("images"), "button", { type: "button", "data-key": key }, label);
    button.addEventListener("click", () => chooseImage(key));
  }
  chooseImage(data.images[0].key);
  for (const [id, component] of byId) {
    const path = make(field, "path", { d: component.outline, "data-id": id, class: `class-${classOf(id) ?? "none"}` });
    make(path, "title", {}, [`component ${id}`, describeClass(id)].filter(Boolean).join(": "));
    outlines.set(id, path);
  }
  find("brightness").addEventListener("input", (event) => (picture.style.filter = `brightness(${event.target.value})`));
  for (const kind of ["accepted", "rejected"]) {
    find(`show-${kind}`).addEventListener("change", (event) => field.classList.toggle(`hide-${kind}`, !event.target.checked));
  }
  find("reset-field").addEventListener("click", () => setFieldBox([-0.5, -0.5, W, H]));
  field.addEventListener("wheel", zoomField, { passive: false });
  onDrag(field, moveField, clickField);
  setFieldBox(state.box);
}

function setFieldBox([x, y, width, height]) {
  const scale = clamp(width / W, 0.05, 1);
  width = scale * W;
  height = scale * H;
  state.box = [clamp(x, -0.5, W - 0.5 - width), clamp(y, -0.5, H - 0.5 - height), width, height];
  field.setAttribute("viewBox", state.box.join(" "));
  const size = data.pixel_size_um ? data.pixel_size_um[1] : 1;
  const length = niceLength((width * size) / 3.5);
  find("bar").style.width = `${(100 * length) / (width * size)}%`;
  find("bar-label").textContent = `${length} ${data.pixel_size_um ? "µm" : "px"}`;
}

function zoomField(event) {
  event.preventDefault();
  const [x, y, width, height] = state.box;
  const frame = field.getBoundingClientRect();
  const [u, v] = [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
  const factor = clamp(width * 1.0015 ** event.deltaY, 0.05 * W, W) / width;
  setFieldBox([x + u * width * (1 - factor), y + v * height * (1 - factor), width * factor, height * factor]);
}

function moveField(dx, dy) {
  const frame = field.getBoundingClientRect();
  const [x, y, width, height] = state.box;
  setFieldBox([x - (dx / frame.width) * width, y - (dy / frame.height) * height, width, height]);
}

// Selects the component under the pointer or, where that is already selected, the one beneath it.
function clickField(event) {
  const here = document.elementsFromPoint(event.clientX, event.clientY).filter((element) => element.dataset.id !== undefined);
  const found = here.map((element) => Number(element.dataset.id));
  if (found.length) select(found[(found.indexOf(state.selected) + 1) % found.length]);
}

// Calls `moved` with the distance in px since the last call while dragging, and `clicked` after a click without dragging.
function onDrag(element, moved, clicked) {
  let last = null;
  let far = 0;
  element.addEventListener("pointerdown", (event) => {
    last = [event.clientX, event.clientY];
    far = 0;
  });
  element.addEventListener("pointermove", (event) => {
    if (last === null || event.buttons === 0) return;
    const [dx, dy] = [event.clientX - last[0], event.clientY - last[1]];
    far += Math.abs(dx) + Math.abs(dy);
    if (far < 4) return;
    element.setPointerCapture(event.pointerId);
    last = [event.clientX, event.clientY];
    moved(dx, dy);
  });
  element.addEventListener("pointerup", (event) => {
    if (last !== null && far < 4) clicked(event);
    last = null;
  });
}

// ---- traces ------------------------------------------------------------------------------------------------------

const KINDS = [
  { title: "Fluorescence (a.u.): measured (grey), denoised (blue)", lines: [["measured", "#8A8F98"], ["denoised", "#0072B2"]], share: 0.32, scale: 1 },
  { title: "dF/F (%)", lines: [["dff", "#0072B2"]], share: 0.3, scale: 100 },
  { title: "Deconvolved spikes (a.u.)", lines: [["spikes", "#D55E00"]], share: 0.19, scale: 1, stems: true },
  { title: "Inferred spikes per sample (up to a constant factor)", lines: [["inferred", "#009E73"]], share: 0.19, scale: 1, stems: true },
];
const MARGIN = { left: 52, right: 10, top: 4, bottom: 30 };
const traces = find("traces");
const encoded = Object.fromEntries(Object.entries(data.series).map(([name, one]) => [name, { ...one, numbers: numbersOf(one.numbers) }]));

function numbersOf(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Uint16Array(bytes.buffer);
}

function traceOf(name, index) {
  const { low, step, numbers } = encoded[name];
  return Float64Array.from(numbers.subarray(index * N_POINTS, (index + 1) * N_POINTS), (n) => low[index] + step[index] * n);
}

function secondsAt(point) {
  return (point * data.frames_per_point) / data.frame_rate_hz;
}

function drawTraces() {
  traces.replaceChildren();
  const { width, height } = traces.getBoundingClientRect();
  traces.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const inner = { x: MARGIN.left, width: width - MARGIN.left - MARGIN.right };
  if (state.selected === null || inner.width < 10) return;
  const { index } = byId.get(state.selected);
  let top = MARGIN.top;
  for (const kind of KINDS) {
    const tall = kind.share * (height - MARGIN.top - MARGIN.bottom);
    drawPanel(kind, index, { ...inner, y: top + 17, height: tall - 24 });
    top += tall;
  }
  drawTimes(inner, height);
  make(traces, "line", { id: "cursor", y1: MARGIN.top, y2: height - MARGIN.bottom, stroke: "#22262b", "stroke-width": 0.7, visibility: "hidden" });
}

function drawPanel(kind, index, box) {
  const all = kind.lines.map(([name]) => traceOf(name, index).map((value) => kind.scale * value));
  const [from, to] = state.span;
  let [low, high] = [Infinity, -Infinity];
  for (const values of all)
    for (let t = Math.floor(from); t < Math.min(Math.ceil(to), N_POINTS); t++) {
      low = Math.min(low, values[t]);
      high = Math.max(high, values[t]);
    }
  if (!(high > low)) [low, high] = [Math.min(low, 0), Math.min(low, 0) + 1];
  const y = (value) => box.y + box.height * (1 - (value - low) / (high - low));
  drawExcluded(box);
  make(traces, "text", { x: box.x, y: box.y - 5, class: "name" }, kind.title);
  const tick = niceLength((high - low) / 2);
  for (let value = Math.ceil(low / tick) * tick; value <= high; value += tick) {
    make(traces, "line", { x1: box.x, x2: box.x + box.width, y1: y(value), y2: y(value), stroke: "#eceff2" });
    make(traces, "text", { x: box.x - 6, y: y(value) + 4, "text-anchor": "end" }, format(Number(value.toPrecision(6))));
  }
  kind.lines.forEach(([name, color], place) => {
    const d = kind.stems ? stems(all[place], box, y) : polyline(all[place], box, y);
    make(traces, "path", { d, fill: "none", stroke: color, "stroke-width": name === "measured" ? 0.8 : 1.2, "data-series": name });
  });
}

// A grey band over each visible run of excluded frames, with an outline, so that a single one among thousands is seen.
function drawExcluded(box) {
  for (const [first, stop] of data.excluded) {
    const [from, to] = [first, stop].map((frame) => clamp(frame / data.frames_per_point, ...state.span));
    if (to > from)
      make(traces, "rect", { x: xOf(from, box), y: box.y, width: xOf(to, box) - xOf(from, box), height: box.height, class: "excluded" });
  }
}

function xOf(point, box) {
  return box.x + (box.width * (point - state.span[0])) / (state.span[1] - state.span[0]);
}

// A line through all visible samples; where there are more of them than pixels, through the lowest and highest of each pixel.
function polyline(values, box, y) {
  const [from, to] = [Math.max(Math.floor(state.span[0]), 0), Math.min(Math.ceil(state.span[1]), N_POINTS)];
  const bin = Math.max(1, Math.floor((to - from) / box.width));
  const points = [];
  for (let start = from; start < to; start += bin) {
    let [lowest, highest] = [start, start];
    for (let t = start; t < Math.min(start + bin, to); t++) {
      if (values[t] < values[lowest]) lowest = t;
      if (values[t] > values[highest]) highest = t;
    }
    for (const t of lowest === highest ? [lowest] : [Math.min(lowest, highest), Math.max(lowest, highest)])
      points.push(`${xOf(t + 0.5, box).toFixed(1)} ${y(values[t]).toFixed(1)}`);
  }
  return points.length ? `M${points.join("L")}` : "";
}

function stems(values, box, y) {
  const parts = [];
  for (let t = Math.max(Math.floor(state.span[0]), 0); t < Math.min(state.span[1], N_POINTS); t++)
    if (values[t] > 0) parts.push(`M${xOf(t + 0.5, box).toFixed(1)} ${y(0).toFixed(1)}V${y(values[t]).toFixed(1)}`);
  return parts.join("");
}

function drawTimes(box, height) {
  const [from, to] = state.span.map(secondsAt);
  const tick = niceLength((to - from) / 4);
  for (let time = Math.ceil(from / tick) * tick; time <= to; time += tick) {
    const x = box.x + (box.width * (time - from)) / (to - from);
    make(traces, "line", { x1: x, x2: x, y1: height - MARGIN.bottom, y2: height - MARGIN.bottom + 4, stroke: "#5b636e" });
    make(traces, "text", { x, y: height - MARGIN.bottom + 15, "text-anchor": "middle" }, format(Number(time.toPrecision(6))));
  }
  make(traces, "line", { x1: box.x, x2: box.x + box.width, y1: height - MARGIN.bottom, y2: height - MARGIN.bottom, stroke: "#5b636e" });
  make(traces, "text", { x: box.x + box.width, y: height - 3, "text-anchor": "end" }, "time (s)");
}

function pointAt(clientX) {
  const frame = traces.getBoundingClientRect();
  const share = (clientX - frame.left - MARGIN.left) / (frame.width - MARGIN.left - MARGIN.right);
  return state.span[0] + share * (state.span[1] - state.span[0]);
}

function showValues(event) {
  const point = Math.floor(pointAt(event.clientX));
  const inside = state.selected !== null && point >= 0 && point < N_POINTS;
  find("cursor")?.setAttribute("visibility", inside ? "visible" : "hidden");
  if (!inside) return;
  const x = event.clientX - traces.getBoundingClientRect().left;
  find("cursor").setAttribute("x1", x);
  find("cursor").setAttribute("x2", x);
  const { index } = byId.get(state.selected);
  const read = (name, scale = 1) => {
    const { low, step, numbers } = encoded[name];
    return format(scale * (low[index] + step[index] * numbers[index * N_POINTS + point]));
  };
  const when = data.frames_per_point === 1 ? `frame ${point}, ${format(secondsAt(point))} s` : `${format(secondsAt(point))} s`;
  find("reading").textContent =
    `${when}: fluorescence ${read("measured")}, denoised ${read("denoised")}, dF/F ${read("dff", 100)} %, spikes ${read("spikes")}, inferred ${read("inferred")}`;
}

function setTimeRange(from, width) {
  width = clamp(width, Math.min(20, N_POINTS), N_POINTS);
  from = clamp(from, 0, N_POINTS - width);
  state.span = [from, from + width];
  drawTraces();
}

function zoomTime(factor, around = (state.span[0] + state.span[1]) / 2) {
  const width = clamp((state.span[1] - state.span[0]) * factor, Math.min(20, N_POINTS), N_POINTS);
  const share = (around - state.span[0]) / (state.span[1] - state.span[0]);
  setTimeRange(around - share * width, width);
}

function buildTraces() {
  traces.addEventListener("mousemove", showValues);
  traces.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      zoomTime(1.0015 ** event.deltaY, pointAt(event.clientX));
    },
    { passive: false },
  );
  const perPixel = () => (state.span[1] - state.span[0]) / (traces.getBoundingClientRect().width - MARGIN.left - MARGIN.right);
  onDrag(traces, (dx) => setTimeRange(state.span[0] - dx * perPixel(), state.span[1] - state.span[0]), () => {});
  find("zoom-in").addEventListener("click", () => zoomTime(0.5));
  find("zoom-out").addEventListener("click", () => zoomTime(2));
  find("reset-time").addEventListener("click", () => setTimeRange(0, N_POINTS));
  new ResizeObserver(drawTraces).observe(traces);
}

// ---- thresholds --------------------------------------------------------------------------------------------------

const inputs = new Map();

function buildThresholds() {
  for (const threshold of data.thresholds) {
    const name = make(find("thresholds"), "label", { for: threshold.key }, threshold.label);
    const bounds = { min: threshold.low, max: threshold.high, step: threshold.step };
    const slider = make(find("thresholds"), "input", { type: "range", ...bounds, "aria-label": threshold.label });
    const number = make(find("thresholds"), "input", { type: "number", step: threshold.step, id: threshold.key });
    for (const input of [slider, number])
      input.addEventListener("input", () => {
        if (Number.isFinite(input.valueAsNumber)) changeThresholds({ [threshold.key]: input.valueAsNumber }, input);
      });
    inputs.set(threshold.key, { name, slider, number });
  }
  find("reset").addEventListener("click", () => {
    if (evaluatedAccept !== null) state.accept = new Set(evaluatedAccept);
    changeThresholds(evaluated);
  });
}

// Boxes that show and, where the classifier was run, accept the components of a class.
function buildClasses() {
  for (const name of CLASSES) {
    const words = `${name.replaceAll("_", " ")} (${ids.filter((id) => classOf(id) === name).length})`;
    addBox(find("show-classes"), `show-${name}`, words, `class-${name}`, (checked) => {
      if (checked) state.hidden.delete(name);
      else state.hidden.add(name);
      showClasses();
    }).checked = true;
    if (state.accept === null) continue;
    accepting.set(name, addBox(find("accept-classes"), `accept-${name}`, words, `class-${name}`, (checked) => {
      if (checked) state.accept.add(name);
      else state.accept.delete(name);
      changeThresholds({});
    }));
  }
  for (const part of ["show-classes", "color-row"]) find(part).hidden = CLASSES.length === 0;
  find("accept-classes").hidden = accepting.size === 0;
  find("by-class").addEventListener("change", (event) => field.classList.toggle("by-class", event.target.checked));
}

function addBox(parent, id, text, kind, changed) {
  const label = make(parent, "label");
  const box = make(label, "input", { type: "checkbox", id });
  make(label, "span", { class: `mark ${kind}` });
  label.append(` ${text}`);
  box.addEventListener("change", () => changed(box.checked));
  return box;
}

function showClasses() {
  for (const marks of [outlines, points, rows])
    for (const [id, element] of marks) element.classList.toggle("hidden-class", state.hidden.has(classOf(id)));
}

const accepting = new Map();

function changeThresholds(thresholds, typedInto = null) {
  state.saved = false;
  setThresholds(thresholds, typedInto);
}

// Sets thresholds and shows them, except in the input that is being typed into.
function setThresholds(thresholds, typedInto = null) {
  Object.assign(state.thresholds, thresholds);
  for (const [key, { name, slider, number }] of inputs) {
    for (const input of [slider, number]) if (input !== typedInto) input.value = state.thresholds[key];
    name.classList.toggle("changed", state.thresholds[key] !== evaluated[key]);
  }
  for (const [name, box] of accepting) box.checked = state.accept.has(name);
  find("accept-classes").classList.toggle("changed", acceptChanged());
  show();
}

const PLOT = { left: 36, right: 296, top: 18, bottom: 184 };
const points = new Map();

function snrRange() {
  const all = [...byId.values()].map((component) => Math.max(component.row.snr, 0.1));
  return [Math.min(...all, 0.5) * 0.9, Math.max(...all, 5) * 1.1];
}

function plotX(snr) {
  const [low, high] = snrRange().map(Math.log);
  return PLOT.left + ((Math.log(clamp(snr, Math.exp(low), Math.exp(high))) - low) / (high - low)) * (PLOT.right - PLOT.left);
}

function plotY(r) {
  const low = Math.min(0, ...[...byId.values()].map((component) => component.row.r_value)) - 0.05;
  return PLOT.bottom - ((clamp(r, low, 1.03) - low) / (1.03 - low)) * (PLOT.bottom - PLOT.top);
}

function buildScatter() {
  const plot = find("scatter");
  make(plot, "path", { d: `M${PLOT.left} ${PLOT.top}V${PLOT.bottom}H${PLOT.right}`, fill: "none", stroke: "#5b636e" });
  const [low, high] = snrRange();
  for (const tick of [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500].filter((value) => value >= low && value <= high))
    make(plot, "text", { x: plotX(tick), y: PLOT.bottom + 14, "text-anchor": "middle" }, tick);
  for (const tick of [-0.5, 0, 0.5, 1].filter((value) => plotY(value) < PLOT.bottom))
    make(plot, "text", { x: PLOT.left - 5, y: plotY(tick) + 4, "text-anchor": "end" }, tick);
  make(plot, "text", { x: PLOT.right, y: PLOT.bottom + 30, "text-anchor": "end" }, "SNR (log scale)");
  make(plot, "text", { x: PLOT.left - 30, y: 10 }, "r value");
  make(plot, "g", { id: "lines" });
  for (const [id, { row }] of byId) {
    const circle = make(plot, "circle", { cx: plotX(row.snr), cy: plotY(row.r_value), r: 3.2, "data-id": id });
    circle.addEventListener("click", () => select(id));
    points.set(id, circle);
  }
}

function drawLines() {
  const lines = find("lines");
  lines.replaceChildren();
  for (const [key, dashes] of [["min", "none"], ["lowest", "2 3"]]) {
    const [x, y] = [plotX(state.thresholds[`${key}_snr`]), plotY(state.thresholds[`${key}_r_value`])];
    const style = { stroke: "#22262b", "stroke-width": 0.9, "stroke-dasharray": dashes };
    if (x > PLOT.left) make(lines, "line", { x1: x, x2: x, y1: PLOT.top, y2: PLOT.bottom, ...style });
    if (y < PLOT.bottom) make(lines, "line", { x1: PLOT.left, x2: PLOT.right, y1: y, y2: y, ...style });
  }
}

// ---- component list, selection, decisions ----------------------------------------------------------------------------------

const COLUMNS = ["id", "component_class", "snr", "r_value", "red_probability", "area_px", "status"].filter(
  (column) => ["id", "status"].includes(column) || ids.every((id) => column in byId.get(id).row),
);
const rows = new Map();

function sortKey(id, column) {
  if (column === "id") return id;
  if (column === "component_class") return classKey(id);
  return column === "status" ? Number(state.accepted.get(id)) : byId.get(id).row[column];
}

// Somata first, by falling probability; then the other classes.
function classKey(id) {
  const probability = byId.get(id).row[`${classOf(id)}_probability`] ?? 0;
  return probability - 2 * (classOf(id) === null ? CLASSES.length : CLASSES.indexOf(classOf(id)));
}

function buildList() {
  const head = make(document.querySelector(".list thead"), "tr");
  for (const column of COLUMNS) {
    const cell = make(head, "th", { class: isText(column) ? "" : "number", tabindex: 0 }, titleOf(column));
    const sort = () => {
      state.order = { column, falling: state.order.column === column ? !state.order.falling : column !== "id" };
      sortList();
    };
    cell.addEventListener("click", sort);
    cell.addEventListener("keydown", (event) => event.key === "Enter" && sort());
  }
  for (const id of ids) {
    const row = make(find("list"), "tr", { "data-id": id });
    for (const column of COLUMNS) {
      make(row, "td", { class: isText(column) ? "" : "number" }, cellText(id, column));
    }
    row.addEventListener("click", () => select(id));
    rows.set(id, row);
  }
  state.order = { column: "snr", falling: true };
  sortList();
}

function isText(column) {
  return column === "status" || column === "component_class";
}

function cellText(id, column) {
  if (column === "id") return id;
  if (column === "status") return "";
  return column === "component_class" ? describeClass(id) : formatFixed(column, byId.get(id).row[column]);
}

function sortList() {
  const { column, falling } = state.order;
  const sorted = [...ids].sort((a, b) => (sortKey(a, column) - sortKey(b, column)) * (falling ? -1 : 1) || a - b);
  find("list").replaceChildren(...sorted.map((id) => rows.get(id)));
}

function select(id) {
  state.selected = id;
  for (const marks of [outlines, points, rows])
    for (const [other, element] of marks) element.classList.toggle("selected", other === id);
  field.append(outlines.get(id)); // drawn last, above the others
  points.get(id).parentNode.append(points.get(id));
  const list = document.querySelector(".list");
  const row = rows.get(id);
  if (row.offsetTop < list.scrollTop + 30 || row.offsetTop + 30 > list.scrollTop + list.clientHeight)
    list.scrollTop = row.offsetTop - list.clientHeight / 2;
  find("note").value = state.decisions.get(id)?.note ?? "";
  drawTraces();
  showSelected();
}

function decide(decision) {
  if (state.selected === null) return;
  if (decision === null) state.decisions.delete(state.selected);
  else state.decisions.set(state.selected, { decision, note: find("note").value.trim() });
  state.saved = false;
  show();
}

function selectNeighbour(step) {
  const order = [...find("list").children].map((row) => Number(row.dataset.id));
  if (order.length) select(order[clamp(state.selected === null ? 0 : order.indexOf(state.selected) + step, 0, order.length - 1)]);
}

function onKey(event) {
  if (event.target.matches("input, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  const actions = {
    a: () => decide("accept"), r: () => decide("reject"), u: () => decide(null),
    ArrowDown: () => selectNeighbour(1), ArrowRight: () => selectNeighbour(1),
    ArrowUp: () => selectNeighbour(-1), ArrowLeft: () => selectNeighbour(-1),
  };
  if (!(event.key in actions)) return;
  event.preventDefault();
  actions[event.key]();
}

function showSelected() {
  const id = state.selected;
  const none = id === null;
  for (const name of ["accept", "reject", "use-thresholds", "note"]) find(name).disabled = none;
  const decision = state.decisions.get(id)?.decision ?? null;
  for (const [name, value] of [["accept", "accept"], ["reject", "reject"], ["use-thresholds", null]])
    find(name).setAttribute("aria-pressed", !none && decision === value);
  if (none) return;
  find("heading").textContent = `Component ${id}: ${statusOf(id)}`;
  find("quality").replaceChildren();
  for (const [column, value] of Object.entries(byId.get(id).row)) {
    if (column === "accepted") continue;
    const line = make(find("quality"), "div");
    make(line, "span", {}, column === "reason" ? "reason in the evaluation" : titleOf(column));
    make(line, "span", {}, format(value));
  }
}

// ---- updates ---------------------------------------------------------------------------------------------------

function showSaved() {
  const n = curation().length;
  find("save-count").textContent = `${n} decision${n === 1 ? "" : "s"}${state.saved ? "" : ", not saved"}`;
  const [animal, session, plane] = data.name.split(".");
  const file = plane ? `"conf/local/curation_${animal}.${session}.plane_{plane}.csv" # one for each plane` : `conf/local/curation_${data.name}.csv`;
  const changed = changedThresholds(true);
  const lines = [`${animal}:`, `  ${session}:`, `    curation: ${file}`];
  if (changed) lines.push(`    # or, to use these thresholds in the evaluation itself: parameters: {evaluation: {${changed}}}`);
  find("manifest").value = lines.join("\n");
}

function show() {
  classify();
  for (const [id, accepted] of state.accepted) {
    for (const element of [outlines.get(id), points.get(id)]) {
      element.classList.toggle("accepted", accepted);
      element.classList.toggle("rejected", !accepted);
    }
    rows.get(id).lastChild.textContent = statusOf(id);
  }
  find("count").textContent = `${[...state.accepted.values()].filter(Boolean).length} of ${ids.length} ${ids.length === 1 ? "component" : "components"} accepted`;
  drawLines();
  showSelected();
  showSaved();
}

buildField();
buildTraces();
buildThresholds();
buildClasses();
buildScatter();
buildList();
for (const [name, decision] of [["accept", "accept"], ["reject", "reject"], ["use-thresholds", null]])
  find(name).addEventListener("click", () => decide(decision));
find("note").addEventListener("input", () => state.decisions.has(state.selected) && decide(state.decisions.get(state.selected).decision));
find("save").addEventListener("click", save);
document.addEventListener("keydown", onKey);
window.addEventListener("beforeunload", (event) => state.saved || event.preventDefault());
setThresholds(evaluated);
if (ids.length) selectNeighbour(0);
