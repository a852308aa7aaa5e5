"use strict";
(() => {
  const report = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const categories = ["services", "kernel modules", "embedded images", "firmware", "base system"];
  const head = 18, gap = 2, smallest = 5, mostTiles = 4000, mostHits = 100;

  const bytes = (n) => {
    if (n < 1024) return n + " B";
    let unit = 0;
    for (n /= 1024; n >= 1024 && unit < 3; unit++) n /= 1024;
    return n.toFixed(1) + " " + ["KiB", "MiB", "GiB", "TiB"][unit];
  };
  const make = (tag, props, ...children) => {
    const e = Object.assign(document.createElement(tag), props);
    e.append(...children);
    return e;
  };

  // The tree of folders, from the list of files.
  const category = (path) => {
    if (/^(usr\/)?lib\/modules\//.test(path)) return 1;
    if (/^(etc\/embedded-images|var\/lib\/docker)\/|\/overlay2\//.test(path)) return 2;
    if (/^(usr\/)?lib\/firmware\/|^kernel\/x86\/microcode\//.test(path)) return 3;
    return path.startsWith("containers/") ? 0 : 4;
  };
  const root = { name: "/", path: "", size: 0, files: 0, children: new Map(), up: null };
  const everyFile = [];
  for (const [path, size, segment] of report.files) {
    let at = root;
    const parts = path.split("/");
    parts.forEach((name, i) => {
      at.size += size;
      at.files++;
      let next = at.children.get(name);
      if (!next) {
        next = { name, path: parts.slice(0, i + 1).join("/"), size: 0, files: 0, children: null, up: at, category: category(path) };
        at.children.set(name, next);
      }
      if (i + 1 < parts.length && !next.children) next.children = new Map();
      at = next;
    });
    at.size += size;
    at.segment = segment;
    at.lower = path.toLowerCase();
    everyFile.push(at);
  }
  const sorted = (node) => node.sorted ||= [...node.children.values()].sort((a, b) => b.size - a.size || (a.name < b.name ? -1 : 1));
  const find = (path) => {
    let at = root;
    for (const name of path.split("/").filter(Boolean)) {
      const next = at.children && at.children.get(name);
      if (!next) break;
      at = next;
    }
    return at;
  };

  // Squarified treemap (Bruls, Huizing, van Wijk): rows whose tiles are as square as can be.
  const worst = (row, sum, side, scale) => {
    const area = sum * scale, max = row[0].size * scale, min = row[row.length - 1].size * scale;
    return Math.max(side * side * max / (area * area), area * area / (side * side * min));
  };
  const squarify = (nodes, x, y, w, h, place) => {
    let total = nodes.reduce((n, c) => n + c.size, 0);
    for (let i = 0; i < nodes.length && total > 0 && w > 0 && h > 0;) {
      const side = Math.min(w, h), scale = w * h / total;
      const row = [nodes[i]];
      let sum = nodes[i].size;
      while (i + row.length < nodes.length) {
        const next = nodes[i + row.length];
        if (next.size <= 0 || worst([...row.slice(0, 1), next], sum + next.size, side, scale) > worst(row, sum, side, scale)) break;
        row.push(next);
        sum += next.size;
      }
      const thick = sum / total * (w < h ? h : w);
      let offset = 0;
      for (const node of row) {
        const long = node.size / sum * side;
        if (w < h) place(node, x + offset, y, long, thick); else place(node, x, y + offset, thick, long);
        offset += long;
      }
      if (w < h) { y += thick; h -= thick; } else { x += thick; w -= thick; }
      total -= sum;
      i += row.length;
    }
  };

  let shown = root, tiles = [], needle = "";
  const matches = (node) => !needle || (node.children ? sorted(node).some(matches) : node.lower.includes(needle));

  const label = (node) => node.path + ", " + bytes(node.size) + (node.children ? ", folder of " + node.files + " files" : "");
  const addTile = (node, name, x, y, w, h) => {
    const folder = !!node.children;
    const tile = make("button", { type: "button", className: "tile c" + node.category + (folder ? " folder" : " file"), tabIndex: -1, title: label(node) });
    tile.setAttribute("aria-label", label(node));
    Object.assign(tile.style, { left: x + "px", top: y + "px", width: w + "px", height: h + "px" });
    if (w > 34 && h > 14) {
      tile.append(make("span", {}, name));
      if (folder ? w > 110 : h > 32) tile.append(make("small", {}, bytes(node.size)));
    }
    if (!matches(node)) tile.classList.add("off");
    tile.addEventListener("click", () => (folder ? open(node.path) : choose(node)));
    tile.addEventListener("focus", () => rove(tiles.find((t) => t.tile === tile)));
    tile.addEventListener("mouseenter", () => describe(node));
    tiles.push({ node, tile, x, y, w, h });
    return tile;
  };
  const layout = (node, x, y, w, h, into) => {
    squarify(sorted(node), x, y, w, h, (child, cx, cy, cw, ch) => {
      cw -= gap; ch -= gap;
      if (cw < smallest || ch < smallest || tiles.length >= mostTiles) return;
      // A folder whose only content is a folder is drawn as one with it.
      let name = child.name;
      while (child.children && child.children.size === 1 && sorted(child)[0].children) {
        child = sorted(child)[0];
        name += "/" + child.name;
      }
      into.append(addTile(child, name, cx, cy, cw, ch));
      if (child.children && cw > 40 && ch > head + 20) layout(child, cx + 3, cy + head, cw - 4, ch - head - 2, into);
    });
  };
  const draw = () => {
    const map = $("map"), into = document.createDocumentFragment();
    const focused = map.contains(document.activeElement);
    tiles = [];
    layout(shown, 2, 2, map.clientWidth - 4, map.clientHeight - 4, into);
    map.replaceChildren(into);
    if (tiles.length) rove(tiles[0]);
    if (focused && tiles.length) tiles[0].tile.focus();
    if (!tiles.length) map.append(make("p", { className: "empty" }, "There are no files here."));
    drawPath();
    describe(shown);
  };
  const drawPath = () => {
    const chain = [];
    for (let n = shown; n; n = n.up) chain.unshift(n);
    $("path").replaceChildren(...chain.flatMap((n, i) => {
      const b = make("button", { type: "button" }, n.name);
      b.addEventListener("click", () => open(n.path));
      if (n === shown) b.setAttribute("aria-current", "true");
      return i > 1 ? ["/", b] : [b];
    }));
  };
  const describe = (node) => {
    const share = shown.size ? Math.round(1000 * node.size / root.size) / 10 : 0;
    let text = "/" + node.path + " · " + bytes(node.size) + " · " + share + " % of all";
    if (node.children) text += " · " + node.files + " files";
    else text += " · segment " + node.segment + segmentName(node.segment);
    $("info").textContent = text;
  };
  const segmentName = (i) => {
    const s = report.initramfs && report.initramfs.segments[i];
    return s && s.name ? " (" + s.name + ")" : "";
  };
  const rove = (t) => {
    if (!t) return;
    for (const other of tiles) other.tile.tabIndex = other === t ? 0 : -1;
    describe(t.node);
  };
  const choose = (node) => {
    for (const t of tiles) t.tile.classList.toggle("chosen", t.node === node);
    const t = tiles.find((t) => t.node === node);
    if (t) { t.tile.focus(); rove(t); }
    describe(node);
  };
  // The folder stands in the address, so that the browser's back leaves it.
  const open = (path) => {
    const wanted = "#/" + path.split("/").map(encodeURIComponent).join("/");
    if (location.hash === wanted) show(); else location.hash = wanted;
  };
  const show = () => {
    let path = "";
    try { path = decodeURIComponent(location.hash.replace(/^#\/?/, "")); } catch { path = ""; }
    const node = find(path);
    shown = node.children ? node : node.up || root;
    draw();
    if (!node.children) choose(node);
  };

  // The nearest tile in a direction; a folder's tiles lie inside of it.
  const step = (from, key) => {
    const cx = (t) => t.x + Math.min(t.w, 60) / 2, cy = (t) => t.y + Math.min(t.h, 16) / 2;
    let best = null, bestCost = Infinity;
    for (const t of tiles) {
      if (t === from) continue;
      const dx = cx(t) - cx(from), dy = cy(t) - cy(from);
      const [along, across] = { ArrowRight: [dx, dy], ArrowLeft: [-dx, dy], ArrowDown: [dy, dx], ArrowUp: [-dy, dx] }[key];
      if (along <= 1) continue;
      const cost = along + 3 * Math.abs(across);
      if (cost < bestCost) { best = t; bestCost = cost; }
    }
    return best;
  };
  $("map").addEventListener("keydown", (e) => {
    if (!e.key.startsWith("Arrow")) return;
    const next = step(tiles.find((t) => t.tile === document.activeElement), e.key);
    if (next) next.tile.focus();
    e.preventDefault();
  });
  document.addEventListener("keydown", (e) => {
    const typing = document.activeElement === $("search");
    if (e.key === "/" && !typing) { $("search").focus(); e.preventDefault(); }
    if (e.key === "Escape" && typing) { $("search").value = ""; search(); $("search").blur(); }
    else if ((e.key === "Escape" || e.key === "Backspace" && !typing) && shown.up) { open(shown.up.path); e.preventDefault(); }
  });

  const search = () => {
    needle = $("search").value.trim().toLowerCase();
    for (const t of tiles) t.tile.classList.toggle("off", !matches(t.node));
    const hits = needle ? everyFile.filter(matches).sort((a, b) => b.size - a.size) : [];
    $("hits").replaceChildren(...hits.slice(0, mostHits).map((n) => {
      const b = make("button", { type: "button" }, make("span", {}, "/" + n.path), make("span", {}, bytes(n.size)));
      b.addEventListener("click", () => open(n.path));
      return make("li", {}, b);
    }));
    if (needle) {
      const more = hits.length > mostHits ? ", the largest " + mostHits + " below" : "";
      $("info").textContent = hits.length + " files, " + bytes(hits.reduce((n, f) => n + f.size, 0)) + more;
    } else describe(shown);
  };
  $("search").addEventListener("input", search);

  $("theme").addEventListener("click", () => {
    const html = document.documentElement;
    const dark = html.dataset.theme ? html.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    html.dataset.theme = dark ? "light" : "dark";
  });

  // The rest of the report.
  const { build, kernel, initramfs, modules } = report;
  const title = (build ? build.flavor + " · " : "") + report.source;
  document.title = "HookOS report: " + title;
  $("title").textContent = title;
  const facts = [];
  if (kernel) facts.push(["Kernel", kernel.release], ["Kernel file", bytes(kernel.size) + ", " + kernel.format + ", " + kernel.arch]);
  if (kernel) facts.push(["Secure Boot", kernel.signed ? "signed" : "not signed"]);
  if (initramfs) facts.push(["Initramfs", bytes(initramfs.size)], ["Unpacked", bytes(initramfs.unpacked)],
    ["Memory after boot", bytes(initramfs.memory)], ["Smallest machine", initramfs.ram_mib + " MiB"]);
  if (build) facts.push(["Build", build.id.slice(0, 12)]);
  $("facts").replaceChildren(...facts.map(([k, v]) => make("div", {}, make("dt", {}, k), make("dd", {}, v))));
  $("warnings").replaceChildren(...report.warnings.map((w) => make("li", {}, w)));
  $("legend").replaceChildren(...categories.map((name, i) => [name, i]).filter(([, i]) => everyFile.some((f) => f.category === i)).map(([name, i]) => {
    const sum = everyFile.reduce((n, f) => n + (f.category === i ? f.size : 0), 0);
    return make("li", {}, make("i", { className: "c" + i }), name + " " + bytes(sum));
  }));

  // Rows are made when a section is opened: a report may have thousands.
  const section = (name, columns, rows, open) => {
    if (!rows.length) return;
    const body = make("div", { className: "scroll", tabIndex: 0 });
    const d = make("details", { open: !!open }, make("summary", {}, name + ": " + rows.length), body);
    const fill = () => {
      if (!d.open || body.firstChild) return;
      const cell = (tag) => (c, i) => make(tag, { className: columns[i].startsWith("#") ? "number" : "" }, String(c));
      body.append(make("table", {}, make("thead", {}, make("tr", {}, ...columns.map((c) => c.replace("#", "")).map((c, i) => cell("th")(c, i)))),
        make("tbody", {}, ...rows.map((r) => make("tr", {}, ...r.map(cell("td")))))));
    };
    d.addEventListener("toggle", fill);
    $("sections").append(d);
    fill();
  };
  section("Services", ["Name", "Runs", "May", "Sees", "#Size"], report.services.map((s) =>
    [s.name + (s.kind === "service" ? "" : " (" + s.kind + ")"), (s.command || []).join(" "), s.privileges.join("; ") || "nothing beyond a plain container", (s.binds || []).join(" "), bytes(s.size)]), true);
  section("Embedded images", ["Names", "ID", "Digests", "#Layers", "#Size"], report.images.map((i) =>
    [i.names.join(" ") || "(no name)", i.id.slice(0, 19), (i.digests || []).join(" "), i.layers, bytes(i.size)]), true);
  if (initramfs) section("Segments", ["Name", "Compression", "#Offset", "#Entries", "#Compressed", "#Unpacked"], initramfs.segments.map((s, i) =>
    [s.name || i, s.compression, s.offset, s.entries, bytes(s.size), bytes(s.unpacked)]));
  section("Packages", ["Name", "Version", "Architecture", "In"], report.packages.map((p) => [p.name, p.version, p.arch || "", p.in || ""]));
  if (modules) section("Kernel modules", ["Name", "Path", "Version magic", "#Size"], modules.list.map((m) => [m.name, m.path, m.vermagic || "", bytes(m.size)]));
  section("Firmware", ["File", "#Size"], report.firmware.map((f) => [f.name, bytes(f.size)]));

  addEventListener("hashchange", show);
  let width = 0;
  new ResizeObserver(() => {
    const w = $("map").clientWidth * 10000 + $("map").clientHeight;
    if (w !== width) { width = w; draw(); }
  }).observe($("map"));
  show();
})();
