package admin

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"hooksmith/serve/hardware"
	"hooksmith/serve/timeline"
)

//go:embed page.html page.css page.js
var pageFiles embed.FS

// page renders HTML. Everything is in one document: no other site, no other
// file is asked for, and the browser is told so.
type page struct {
	templates *template.Template
	policy    string
}

func newPage() (*page, error) {
	text := map[string]string{}
	for _, name := range []string{"page.html", "page.css", "page.js"} {
		b, err := pageFiles.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading the embedded page: %w", err)
		}
		text[name] = string(b)
	}
	css, js := text["page.css"], text["page.js"]
	t, err := template.New("page").Funcs(template.FuncMap{
		"style":  func() template.HTML { return template.HTML("<style>" + css + "</style>") },
		"script": func() template.HTML { return template.HTML("<script>" + js + "</script>") },
	}).Parse(text["page.html"])
	if err != nil {
		return nil, fmt.Errorf("parsing the embedded page: %w", err)
	}
	return &page{t, "default-src 'none'; style-src 'sha256-" + digest(css) + "'; script-src 'sha256-" + digest(js) +
		"'; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"}, nil
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// headers go with every answer. With the policy no-referrer browsers would send
// the login form with "Origin: null".
func (p *page) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for k, v := range map[string]string{
			"Content-Security-Policy": p.policy, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			w.Header().Set(k, v)
		}
		next.ServeHTTP(w, r)
	})
}

func (p *page) part(name string, data any) (string, error) {
	var b strings.Builder
	err := p.templates.ExecuteTemplate(&b, name, data)
	return b.String(), err
}

// render writes a page, whole or not at all.
func (h *Handler) render(w http.ResponseWriter, code int, name string, data any) {
	var b bytes.Buffer
	if err := h.page.templates.ExecuteTemplate(&b, name, data); err != nil {
		h.config.Log.Error("rendering a page", "page", name, "error", err)
		http.Error(w, "this page cannot be shown; the server's log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(b.Bytes()) // the browser is gone
}

// frame is what every page has.
type frame struct {
	View, Heading, Title, MAC string
	Token                     bool
	Health                    []notice
}

func (h *Handler) frame(view, heading string) frame {
	return frame{View: view, Heading: heading, Title: h.config.Title, Token: h.config.Token != "", Health: h.health(h.server())}
}

// notice is something wrong with the server itself, at the top of every page.
type notice struct{ Severity, Title, Text string }

func (h *Handler) health(s Server) (out []notice) {
	if !s.Ready {
		out = append(out, notice{"error", "Not ready.", strings.Join(s.NotReady, "\n")})
	}
	if hw := s.Hardware; hw != nil {
		for _, f := range hw.Files {
			if f.Error != "" {
				out = append(out, notice{"error", "The hardware file " + f.Path + " is broken; what it said before is still used.", f.Error})
			}
		}
		if hw.Error != "" {
			out = append(out, notice{"error", "The hardware files contradict each other; what they said before is still used.", hw.Error})
		}
	}
	for _, i := range s.Interfaces {
		if i.Error != "" {
			out = append(out, notice{"error", "Interface " + i.Name + ":", i.Error})
		} else if !i.Up {
			out = append(out, notice{"warning", "Interface " + i.Name + " is down.", "Machines behind it cannot boot: check its cable and `ip link`."})
		}
	}
	for _, v := range s.Services {
		if v.Error != "" {
			out = append(out, notice{"error", v.Name + ":", v.Error})
		}
	}
	if d := s.Timeline.Disk; d.Error != "" {
		out = append(out, notice{"error", "The timeline is not written to " + d.Path + " (space, permissions?); it is kept in memory.", d.Error})
	}
	return out
}

// maxRows bounds the page; the API has no bound.
const maxRows = 1000

type countView struct {
	State, Word, Pressed string
	N                    int
}

func (h *Handler) pageMachines(w http.ResponseWriter, r *http.Request) {
	all := h.machines()
	f := filterOf(r.URL.Query())
	data := struct {
		frame
		Query, State string
		Total, Left  int
		Counts       []countView
		Rows         []rowView
	}{frame: h.frame("machines", "Machines"), Query: r.URL.Query().Get("q"), State: f.State, Total: len(all)}
	counts := map[timeline.State]int{}
	now := h.config.Now()
	for i := range all {
		counts[all[i].State]++
		switch {
		case !f.picks(&all[i]):
		case len(data.Rows) == maxRows:
			data.Left++
		default:
			data.Rows = append(data.Rows, rowOf(&all[i], now))
		}
	}
	for _, s := range []timeline.State{timeline.Stuck, timeline.Booting, timeline.Up, timeline.Idle, timeline.Silent, timeline.Unasked} {
		data.Counts = append(data.Counts, countView{string(s), stateWord(s), fmt.Sprint(f.State == string(s)), counts[s]})
	}
	h.render(w, http.StatusOK, "machines", data)
}

// rowsEvent is the data of a rows event.
type rowsEvent struct {
	Reset bool     `json:"reset"`
	HTML  string   `json:"html"`
	MACs  []string `json:"macs"`
	Now   int64    `json:"now"` // ms, the server's clock
}

func (h *Handler) rows(u timeline.Update) rowsEvent {
	now := h.config.Now()
	e := rowsEvent{Reset: u.Reset, MACs: []string{}, Now: now.UnixMilli()}
	var b strings.Builder
	for i := range u.Machines[:min(len(u.Machines), maxRows)] {
		e.MACs = append(e.MACs, u.Machines[i].MAC)
		text, err := h.page.part("row", rowOf(&u.Machines[i], now))
		if err != nil {
			h.config.Log.Error("rendering a row", "mac", u.Machines[i].MAC, "error", err)
			continue
		}
		b.WriteString(text)
	}
	e.HTML = b.String()
	return e
}

func (h *Handler) pageMachine(w http.ResponseWriter, r *http.Request) {
	d, ok := h.machine(r.PathValue("mac"))
	if !ok {
		h.render(w, http.StatusNotFound, "missing", h.frame("machine", "No such machine"))
		return
	}
	v := h.machineView(d, r)
	switch part := r.URL.Query().Get("part"); part {
	case "detail", "log":
		h.render(w, http.StatusOK, part, v)
		return
	}
	v.frame = h.frame("machine", v.Row.Name)
	v.MAC = d.MAC
	if h.config.Preview != nil {
		if p, err := h.config.Preview(d.MAC); err != nil {
			v.Preview = err.Error()
		} else {
			v.Preview = p.String()
		}
	}
	h.render(w, http.StatusOK, "machine", v)
}

type leaseRow struct{ IP, MAC, State, Expires, Note string }

type leasesView struct {
	frame
	Leases []leaseRow
	Left   int
}

func (h *Handler) pageLeases(w http.ResponseWriter, r *http.Request) {
	v := leasesView{}
	now := h.config.Now()
	leases := h.leases()
	v.Left = max(0, len(leases)-maxRows)
	for _, l := range leases[:min(len(leases), maxRows)] {
		row := leaseRow{IP: l.IP, MAC: l.MAC, State: l.State, Note: strings.TrimSpace(l.Hostname + " " + l.Detail)}
		if n, err := hardware.NormalizeMAC(l.MAC); err != nil || n != l.MAC {
			row.MAC, row.Note = "", strings.TrimSpace(l.MAC+" "+row.Note)
		}
		if !l.Expires.IsZero() {
			row.Expires = "in " + timeline.Duration(l.Expires.Sub(now))
			if l.Expires.Before(now) {
				row.Expires = timeline.Duration(now.Sub(l.Expires)) + " ago"
			}
		}
		v.Leases = append(v.Leases, row)
	}
	if r.URL.Query().Get("part") != "" {
		h.render(w, http.StatusOK, "leasetable", v)
		return
	}
	v.frame = h.frame("leases", "Leases")
	h.render(w, http.StatusOK, "leases", v)
}

func (h *Handler) pageServer(w http.ResponseWriter, r *http.Request) {
	s := h.server()
	t := s.Timeline
	v := struct {
		frame
		Server Server
		Facts  []fact
	}{Server: s}
	add := func(name, value string) { v.Facts = append(v.Facts, fact{Name: name, Value: value}) }
	add("State", map[bool]string{true: "ready", false: "not ready"}[s.Ready])
	if s.Version != "" {
		add("Version", s.Version)
	}
	add("Started", s.Started.Format(time.DateTime)+", "+timeline.Duration(s.Time.Sub(s.Started))+" ago")
	add("Machines heard of", fmt.Sprint(t.Machines))
	if s.Hardware != nil {
		add("Machines in the hardware data", fmt.Sprint(s.Hardware.Machines))
	}
	add("Logs", timeline.Bytes(t.LogBytes))
	if t.Disk.Path != "" {
		add("State file", t.Disk.Path+", "+timeline.Bytes(t.Disk.Bytes))
	}
	if r.URL.Query().Get("part") != "" {
		h.render(w, http.StatusOK, "serverpart", v)
		return
	}
	v.frame = h.frame("server", "Server")
	h.render(w, http.StatusOK, "server", v)
}

func (h *Handler) pageLogin(w http.ResponseWriter, r *http.Request) {
	to := localPath(r.URL.Query().Get("to"))
	if h.access.allowed(r) {
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	}
	h.showLogin(w, http.StatusOK, to, "")
}

func (h *Handler) showLogin(w http.ResponseWriter, code int, to, problem string) {
	h.render(w, code, "login", struct {
		frame
		To, Error string
	}{frame{View: "login", Heading: "Log in"}, to, problem}) // nothing of the server is told before
}

func stateWord(s timeline.State) string {
	words := map[timeline.State]string{timeline.Stuck: "Stuck", timeline.Booting: "Booting", timeline.Up: "Up", timeline.Idle: "Idle",
		timeline.Silent: "Silent", timeline.Unasked: "Not seen"}
	return words[s]
}

func progress(s timeline.Stage) string {
	i := slices.Index(timeline.Stages(), s)
	if i < 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d", i+1, len(timeline.Stages()))
}
