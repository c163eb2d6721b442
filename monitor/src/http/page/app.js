// The status page. Everything from the monitor is put in as text, never as markup.
"use strict";

const $ = (id) => document.getElementById(id);
const SEVERITIES = { 1: ["alert", "bad"], 2: ["critical", "bad"], 3: ["error", "warn"], 4: ["warning", "warn"] };
const open = new Set();
let overview = null;

/** The URL of a path beside this page, without the user and password that may be in the page's own: fetch takes none. */
function beside(path) {
  const base = new URL(location.href);
  base.username = base.password = base.search = base.hash = "";
  return new URL(path, base);
}

/** An element with a class, attributes and children (texts or elements). */
function make(name, options = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "class") element.className = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

function span(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

const when = (seconds) => new Date(seconds * 1000).toLocaleString();
const count = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;
const percent = (value) => (value === null ? "" : `${value.toFixed(value < 10 ? 1 : 0)} %`);

async function read(path) {
  const response = await fetch(beside(path), { headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

function badge(text, kind) {
  return make("span", { class: `badge ${kind}` }, text);
}

// What the monitor itself stands on.
function showTroubles(view) {
  const troubles = [];
  if (!view.connected) troubles.push(["bad", "The message bus is gone: no agent can be heard, and their silence does not count."]);
  if (view.director_error) troubles.push(["warn", `The director cannot be asked: ${view.director_error}`]);
  else if (view.sync_age === null) troubles.push(["calm", "The director has not been heard yet."]);
  if (view.outage) troubles.push(["bad", "Mass outage: many agents fell silent together. Their VMs are not repaired."]);
  if (view.lag > 5) troubles.push(["warn", `The monitor is ${span(view.lag)} behind in reading messages.`]);
  $("troubles").replaceChildren(...troubles.map(([kind, text]) => make("li", { class: kind }, text)));
  const standing = {
    leader: ["good", view.alone ? "acts" : "acts, another stands by"],
    follower: ["calm", "stands by, another acts"],
    undecided: ["warn", "not decided who acts"],
  }[view.standing];
  $("standing").className = `badge ${standing[0]}`;
  $("standing").textContent = standing[1];
}

function showTiles(view) {
  const sum = (key) => view.deployments.reduce((total, line) => total + line[key], 0);
  const tiles = [
    ["Deployments", view.deployments.length, false],
    ["Instances", sum("instances"), false],
    ["Silent agents", sum("unresponsive"), true],
    ["Failing", sum("failing"), true],
    ["Without VM", sum("missing_vms"), true],
    ["Unmanaged agents", view.unmanaged, true],
    ["Heartbeats", view.heartbeats, false],
    ["Refused messages", view.refused, false],
  ];
  $("tiles").replaceChildren(
    ...tiles.map(([name, value, loud]) =>
      make("div", { class: loud && value > 0 ? "loud" : null }, make("dt", {}, name), make("dd", {}, value.toLocaleString())),
    ),
  );
}

function badges(line) {
  const bad = [
    ["unresponsive", "silent", "bad"],
    ["missing_vms", "without VM", "bad"],
    ["failing", "failing", "bad"],
    ["unhealthy", "without processes", "warn"],
    ["unknown", "unknown", "calm"],
    ["stopped", "stopped", "calm"],
  ].filter(([key]) => line[key] > 0);
  const shown = bad.map(([key, text, kind]) => badge(`${line[key]} ${text}`, kind));
  if (line.locked) shown.push(badge("being changed", "calm"));
  if (!bad.some(([, , kind]) => kind === "bad")) shown.push(badge(count(line.instances, "instance"), "good"));
  return shown;
}

// A deployment's element is kept while it is there, so that what is open stays open and the focus stays where it is.
function showDeployments(view) {
  const wanted = $("filter").value.trim().toLowerCase();
  const lines = view.deployments.filter(
    (line) => !wanted || line.name.toLowerCase().includes(wanted) || line.teams.some((team) => team.toLowerCase().includes(wanted)),
  );
  const place = $("deployments");
  const before = new Map([...place.children].filter((element) => element.dataset.name).map((element) => [element.dataset.name, element]));
  const elements = lines.slice(0, 500).map((line) => {
    const element = before.get(line.name) ?? makeDeployment(line.name);
    const teams = line.teams.length ? make("span", { class: "hint" }, line.teams.join(", ")) : null;
    element.firstElementChild.replaceChildren(...[make("span", { class: "name" }, line.name), teams, ...badges(line)].filter(Boolean));
    return element;
  });
  if (!elements.length) elements.push(make("p", { class: "empty" }, wanted ? "None of that name." : "None."));
  if (lines.length > 500) elements.push(make("p", { class: "empty" }, `${lines.length - 500} more; narrow the search.`));
  if (elements.length !== place.children.length || elements.some((element, at) => place.children[at] !== element)) {
    place.replaceChildren(...elements);
  }
}

function makeDeployment(name) {
  const element = make("details", { class: "deployment", "data-name": name }, make("summary"), make("div", { class: "instances" }));
  element.addEventListener("toggle", () => {
    if (element.open) open.add(name);
    else open.delete(name);
    if (element.open) showInstances(element);
  });
  return element;
}

async function showInstances(element) {
  let told;
  const place = element.lastElementChild;
  try {
    told = await read(`api/deployments/${encodeURIComponent(element.dataset.name)}`);
  } catch (error) {
    place.replaceChildren(make("p", { class: "error" }, String(error.message)));
    return;
  }
  const columns = ["Instance", "State", "Load", "CPU", "Memory", "Disks", "Last half hour"];
  const rows = told.instances.map((seen) => {
    const cells = [
      make("span", {}, `${seen.job ?? "no group"}/${seen.index ?? "?"} `, make("span", { class: "id" }, [seen.id, seen.az, seen.cid].filter(Boolean).join(" · "))),
      make("span", {}, state(seen)),
      seen.load === null ? "" : seen.load.toFixed(2),
      percent(seen.cpu),
      percent(seen.memory),
      seen.disks.map(percent).filter(Boolean).join(", "),
      history(seen.history),
    ];
    return make("tr", {}, ...cells.map((cell, at) => make("td", { "data-label": columns[at], class: at > 1 ? "number" : null }, cell)));
  });
  const head = make("thead", {}, make("tr", {}, ...columns.map((column) => make("th", { scope: "col" }, column))));
  const left = told.total - told.instances.length;
  place.replaceChildren(
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Instances of ${told.deployment}` }, make("table", {}, head, make("tbody", {}, ...rows))),
    ...(left > 0 ? [make("p", { class: "empty" }, `${left} more are not shown.`)] : []),
  );
}

function state(seen) {
  const kind = { running: "good", failing: "bad", silent: "bad", "no vm": "bad" }[seen.state] ?? "calm";
  const silent = seen.state === "silent" ? ` for ${span(seen.silence)}` : "";
  const processes = seen.state === "running" && seen.processes !== null ? `, ${count(seen.processes, "process").replace("processs", "processes")}` : "";
  return badge(seen.state + silent + processes, seen.state === "running" && seen.processes === 0 ? "warn" : kind);
}

// CPU, memory and fullest disk as three lines; the first two fade for nobody: their names are in the title.
function history(samples) {
  if (samples.length < 2) return make("span", { class: "empty" }, "none yet");
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "history");
  svg.setAttribute("viewBox", "0 0 29 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const last = samples[samples.length - 1];
  const names = ["CPU", "memory", "disk"];
  svg.setAttribute("aria-label", names.map((name, at) => `${name} ${last[at] === 255 ? "unknown" : `${last[at]} %`}`).join(", "));
  for (const at of [0, 1, 2]) {
    const points = samples.map((sample, x) => [x + 30 - samples.length, sample[at]]).filter(([, value]) => value !== 255);
    const line = document.createElementNS(space, "polyline");
    line.setAttribute("points", points.map(([x, value]) => `${x},${100 - value}`).join(" "));
    if (at === 1) line.setAttribute("stroke-dasharray", "3 2");
    if (at === 2) line.setAttribute("stroke-dasharray", "1 2");
    svg.append(line);
  }
  return svg;
}

function alertItem(alert) {
  let [name, kind] = SEVERITIES[alert.severity] ?? [`severity ${alert.severity}`, "calm"];
  if (alert.status === "resolved") [name, kind] = ["over", "good"];
  const instance = alert.instance_id && alert.job ? `${alert.job}/${alert.instance_id}` : alert.job;
  const place = [alert.deployment, instance].filter(Boolean).join(" ");
  const about = [place || alert.source, alert.silenced ? "silenced" : null].filter(Boolean).join(" · ");
  const time = make("time", { datetime: new Date(alert.created_at * 1000).toISOString() }, when(alert.created_at));
  return make(
    "li",
    {},
    badge(name, kind),
    make("h3", {}, alert.title),
    alert.summary === alert.title ? null : make("p", {}, alert.summary),
    make("p", { class: "meta" }, time, about ? ` · ${about}` : null),
  );
}

async function showAlerts() {
  const { current, past } = await read("api/alerts");
  const list = (place, alerts, none) =>
    place.replaceChildren(...(alerts.length ? alerts.slice(0, 200).map(alertItem) : [make("li", { class: "empty" }, none)]));
  list($("current"), current, "Nothing.");
  list($("past"), past, "Nothing has come yet.");
}

function words(matcher) {
  const parts = Object.entries(matcher).map(([key, value]) => `${key.replace("_", " ")} ${Array.isArray(value) ? value.join(" or ") : value}`);
  return parts.length ? parts.join(", ") : "everything";
}

async function showSilences() {
  const silences = await read("api/silences");
  const items = silences.map((silence) => {
    const end = make("button", { type: "button" }, "End");
    end.addEventListener("click", async () => {
      end.disabled = true;
      const response = await fetch(beside(`api/silences/${encodeURIComponent(silence.id)}`), { method: "DELETE" });
      if (!response.ok) end.textContent = `failed: ${response.status}`;
      else await showSilences();
    });
    const by = [silence.by ? `by ${silence.by}` : null, silence.comment].filter(Boolean).join(": ");
    return make("li", {}, make("h3", {}, words(silence.matcher)), make("p", { class: "meta" }, `until ${when(silence.until)}${by ? ` · ${by}` : ""}`), end);
  });
  $("silences").replaceChildren(...(items.length ? items : [make("li", { class: "empty" }, "None.")]));
}

async function showPlugins() {
  const rows = (await read("api/plugins")).map((plugin) => {
    const cells = [plugin.id, plugin.queued + plugin.spooled, plugin.delivered, plugin.failed, plugin.lost];
    return make("tr", {}, ...cells.map((cell, at) => make("td", { class: at ? "number" : null }, String(cell))));
  });
  $("plugins").replaceChildren(...rows);
}

$("silence").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const matcher = {};
  for (const key of ["deployment", "instance_group", "instance", "title"]) {
    const value = form.get(key).trim();
    if (value) matcher[key] = value;
  }
  const request = { matcher, seconds: Number(form.get("seconds")), comment: form.get("comment"), by: form.get("by") };
  const response = await fetch(beside("api/silences"), { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request) });
  $("silence-error").textContent = response.ok ? "" : (await response.text()) || `failed: ${response.status}`;
  if (response.ok) {
    event.target.reset();
    await Promise.all([showSilences(), showAlerts()]);
  }
});

$("filter").addEventListener("input", () => overview && showDeployments(overview));

function live(kind, text) {
  $("live").className = `badge ${kind}`;
  if ($("live").textContent !== text) $("live").textContent = text;
}

// Alerts that come together are shown together.
let due = null;
function alertsSoon() {
  due ??= setTimeout(() => {
    due = null;
    showAlerts().catch(() => live("warn", "not live"));
  }, 150);
}

const events = new EventSource(beside("events"));
events.addEventListener("overview", (event) => {
  overview = JSON.parse(event.data);
  live("good", "live");
  showTroubles(overview);
  showTiles(overview);
  showDeployments(overview);
});
events.addEventListener("alert", alertsSoon);
events.addEventListener("missed", alertsSoon);
events.addEventListener("error", () => live("warn", "not live, trying again"));
events.addEventListener("open", alertsSoon);

// What has no event of its own.
async function rest() {
  try {
    await Promise.all([showSilences(), showPlugins(), showAlerts()]);
    await Promise.all([...document.querySelectorAll(".deployment[open]")].map(showInstances));
  } catch {
    live("warn", "not live, trying again");
  }
}
rest();
setInterval(rest, 5000);
