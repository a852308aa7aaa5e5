"use strict";
(() => {
  const $ = (s, root) => (root || document).querySelector(s);
  const all = (s, root) => [...(root || document).querySelectorAll(s)];
  const view = document.body.dataset.view;
  document.documentElement.classList.add("js");

  // Copying: the clipboard interface is there only with https or localhost.
  const copyText = async (text) => {
    if (navigator.clipboard && window.isSecureContext) {
      try { await navigator.clipboard.writeText(text); return true; } catch { /* the other way */ }
    }
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "sr";
    document.body.append(area);
    area.select();
    const ok = document.execCommand("copy");
    area.remove();
    return ok;
  };
  document.addEventListener("click", async (e) => {
    const button = e.target.closest("button.copy");
    if (!button) return;
    const ok = await copyText(button.dataset.copy);
    button.focus();
    button.textContent = ok ? "Copied" : "Select it by hand";
    button.classList.toggle("done", ok);
    setTimeout(() => { button.textContent = "Copy"; button.classList.remove("done"); }, 2500);
  });

  // Times that go on between updates, by the server's clock.
  let skew = 0;
  const ago = (ms) => {
    const s = Math.max(0, ms / 1000);
    if (s < 120) return Math.round(s) + " s ago";
    if (s < 7200) return Math.round(s / 60) + " min ago";
    if (s < 172800) return Math.round(s / 3600) + " h ago";
    return Math.round(s / 86400) + " d ago";
  };
  const tick = () => all("time[data-ago]").forEach((t) => { t.textContent = ago(Date.now() + skew - Date.parse(t.dateTime)); });
  if (view === "machines") setInterval(tick, 1000);

  // Search and filter by state.
  const table = $("#machines");
  let state = new URLSearchParams(location.search).get("state") || "";
  const filter = () => {
    const words = $("#q").value.toLowerCase().split(/\s+/).filter(Boolean);
    const counts = { "": 0 };
    let shown = 0;
    for (const body of table.tBodies) {
      counts[""]++;
      counts[body.dataset.state] = (counts[body.dataset.state] || 0) + 1;
      const ok = (!state || body.dataset.state === state) && words.every((w) => body.dataset.text.includes(w));
      body.hidden = !ok;
      if (ok) shown++;
    }
    $("#none").hidden = shown > 0;
    for (const b of all("[data-count]")) {
      const n = counts[b.dataset.count] || 0;
      b.textContent = n;
      const chip = b.closest("button");
      if (chip.value) chip.toggleAttribute("data-empty", n === 0);
      chip.setAttribute("aria-pressed", String(chip.value === state));
    }
  };
  const setUpFilter = () => {
    $("#q").addEventListener("input", filter);
    $(".filter").addEventListener("submit", (e) => {
      e.preventDefault();
      if (e.submitter && e.submitter.name === "state") state = e.submitter.value;
      const p = new URLSearchParams();
      if ($("#q").value) p.set("q", $("#q").value);
      if (state) p.set("state", state);
      history.replaceState(null, "", p.size ? "?" + p : location.pathname);
      filter();
    });
    document.addEventListener("keydown", (e) => {
      if (e.key === "/" && !/INPUT|TEXTAREA|SELECT/.test(document.activeElement.tagName)) { e.preventDefault(); $("#q").focus(); }
    });
  };

  // Rows come from the server as it renders them: text is escaped there.
  const parse = (html) => {
    const t = document.createElement("template");
    t.innerHTML = html;
    return t.content;
  };
  const place = (body) => {
    const next = [...table.tBodies].find((b) => b !== body && b.dataset.order > body.dataset.order);
    if (next ? body.nextElementSibling !== next : body !== table.lastElementChild) table.insertBefore(body, next || null);
  };
  const rows = (u) => {
    const focused = document.activeElement && document.activeElement.closest("tbody[id]");
    const selection = String(getSelection()) && getSelection().anchorNode;
    const fresh = parse("<table>" + u.html + "</table>");
    const bodies = all("tbody", fresh);
    if (u.reset) {
      const there = new Set(bodies.map((b) => b.id));
      for (const old of [...table.tBodies]) if (!there.has(old.id)) old.remove();
    }
    for (const body of bodies) {
      const old = document.getElementById(body.id);
      if (old && old.outerHTML === body.outerHTML) continue;
      if (old && selection && old.contains(selection)) continue; // somebody is about to copy
      if (old) {
        const had = focused === old && document.activeElement;
        const index = had ? all("a,button", old).indexOf(had) : -1;
        old.replaceWith(body);
        if (index >= 0) { const f = all("a,button", body)[index]; if (f) f.focus(); }
      } else table.append(body);
      place(body);
    }
    filter();
    tick();
  };

  // Parts of the other pages.
  const refresh = async (part, target) => {
    const p = new URLSearchParams(part === "log" ? new FormData($("#logform")) : "");
    p.set("part", part);
    const r = await fetch(location.pathname + "?" + p, { headers: { Accept: "text/html" } });
    if (!r.ok) return;
    const html = await r.text();
    if (target.last === html || target.contains(getSelection().anchorNode) && String(getSelection())) return;
    target.last = html;
    const bottom = target.scrollHeight - target.scrollTop - target.clientHeight < 40;
    const open = all("details", target).map((d) => d.open);
    target.innerHTML = html;
    all("details", target).forEach((d, i) => { d.open = open[i] || false; });
    if (part === "log" && bottom) target.scrollTop = target.scrollHeight;
  };
  let wanted = false, busy = false;
  const refreshAll = async () => {
    wanted = true;
    if (busy || document.hidden) return;
    busy = true;
    while (wanted) {
      wanted = false;
      try {
        if (view === "machine") { await refresh("detail", $("#detail")); await refresh("log", $("#log")); }
        else if ($("#part")) await refresh("part", $("#part"));
      } catch { /* the stream says that the server is away */ }
      await new Promise((r) => setTimeout(r, 500));
    }
    busy = false;
  };

  const live = $("#live");
  const connect = () => {
    live.hidden = false;
    const say = (text, on) => { live.textContent = text; live.classList.toggle("on", on); };
    const source = new EventSource("/api/events?html=1");
    source.onopen = () => say("live", true);
    source.onerror = () => {
      say("connecting again", false);
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, 5000);
    };
    source.addEventListener("rows", (e) => {
      const u = JSON.parse(e.data);
      skew = u.now - Date.now();
      if (table) rows(u);
      else if (view !== "machine" || u.macs.includes(document.body.dataset.mac)) refreshAll();
    });
    source.addEventListener("health", (e) => {
      $("#health").innerHTML = JSON.parse(e.data).html;
      if (view === "server") refreshAll();
    });
    addEventListener("pagehide", () => source.close(), { once: true });
  };

  if (table) setUpFilter();
  if (view === "machine") {
    $("#logform").addEventListener("input", refreshAll);
    $("#logform").addEventListener("submit", (e) => { e.preventDefault(); refreshAll(); });
    $("#log").scrollTop = $("#log").scrollHeight;
  }
  if (view === "machine" || $("#part")) {
    setInterval(refreshAll, 3000);
    document.addEventListener("visibilitychange", refreshAll);
  }
  if (live) { connect(); addEventListener("pageshow", (e) => { if (e.persisted) connect(); }); }
})();
