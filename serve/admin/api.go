package admin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"hooksmith/serve/hardware"
	"hooksmith/serve/timeline"
)

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the client is gone
}

// apiError answers {"error": "..."}.
func apiError(w http.ResponseWriter, code int, format string, args ...any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": fmt.Sprintf(format, args...)})
}

func (h *Handler) apiNothing(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		apiError(w, http.StatusMethodNotAllowed, "this API only tells: GET and HEAD")
		return
	}
	apiError(w, http.StatusNotFound, "there is /api/status, /api/machines, /api/machines/MAC, /api/machines/MAC/logs, /api/leases, /api/hardware, /api/preview/MAC, /api/events")
}

func (h *Handler) apiStatus(w http.ResponseWriter, _ *http.Request) { reply(w, h.server()) }

// apiMachines answers with ?state= and ?q= as the page's filter.
func (h *Handler) apiMachines(w http.ResponseWriter, r *http.Request) {
	seq := h.config.Timeline.Status().Seq // before, so that nothing is missed after
	f := filterOf(r.URL.Query())
	machines := slices.DeleteFunc(h.machines(), func(m timeline.Machine) bool { return !f.picks(&m) })
	reply(w, struct {
		Seq      uint64             `json:"seq"`
		Machines []timeline.Machine `json:"machines"`
	}{seq, append([]timeline.Machine{}, machines...)})
}

// filter is the page's search.
type filter struct{ Text, State string }

func filterOf(q url.Values) filter {
	return filter{strings.ToLower(strings.TrimSpace(q.Get("q"))), q.Get("state")}
}

func (f filter) picks(m *timeline.Machine) bool {
	if f.State != "" && f.State != string(m.State) {
		return false
	}
	return f.Text == "" || strings.Contains(searchText(m), f.Text)
}

// searchText is what a search looks at.
func searchText(m *timeline.Machine) string {
	text := []string{m.MAC, strings.ReplaceAll(m.MAC, ":", "-"), m.Hostname, m.IP, m.Arch, m.Client, string(m.State), string(m.Stage)}
	for _, p := range m.Problems {
		text = append(text, p.Code, p.Text)
	}
	return strings.ToLower(strings.Join(text, "\n"))
}

func (h *Handler) apiMachine(w http.ResponseWriter, r *http.Request) {
	d, ok := h.machine(r.PathValue("mac"))
	if !ok {
		h.noMachine(w, r)
		return
	}
	reply(w, d)
}

func (h *Handler) noMachine(w http.ResponseWriter, r *http.Request) {
	text := r.PathValue("mac")
	if _, err := hardware.NormalizeMAC(text); err != nil {
		apiError(w, http.StatusBadRequest, "%q is not a MAC address", text[:min(len(text), 64)])
		return
	}
	apiError(w, http.StatusNotFound, "nothing was heard of a machine with this MAC address, and no hardware file names it")
}

const maxLines = 20_000

// queryOf reads ?text= ?severity= (name or number) ?since= (RFC 3339 or a
// duration back from now) ?after= ?tail=.
func queryOf(v url.Values, now time.Time) (q timeline.Query, err error) {
	q.Text = v.Get("text")
	if s := v.Get("severity"); s != "" {
		n, err := severity(s)
		if err != nil {
			return q, err
		}
		q.Severity = &n
	}
	if s := v.Get("since"); s != "" {
		if d, err := time.ParseDuration(s); err == nil {
			q.Since = now.Add(-d)
		} else if q.Since, err = time.Parse(time.RFC3339, s); err != nil {
			return q, fmt.Errorf("since=%q: neither a duration (10m) nor a time (2026-01-02T15:04:05Z)", printable(s))
		}
	}
	if s := v.Get("after"); s != "" {
		if q.After, err = strconv.ParseUint(s, 10, 64); err != nil {
			return q, fmt.Errorf("after=%q: not the number of a line", printable(s))
		}
	}
	if s := v.Get("tail"); s != "" {
		if q.Tail, err = strconv.Atoi(s); err != nil || q.Tail < 0 {
			return q, fmt.Errorf("tail=%q: not a count of lines", printable(s))
		}
	}
	q.Tail = min(cmp.Or(q.Tail, maxLines), maxLines)
	return q, nil
}

func severity(s string) (int, error) {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 && n <= 7 {
		return n, nil
	}
	for n := range 8 {
		if strings.EqualFold(s, timeline.SeverityName(n)) {
			return n, nil
		}
	}
	return 0, fmt.Errorf("severity=%q: not one of emerg, alert, crit, err, warning, notice, info, debug, 0-7", printable(s))
}

// apiLogs answers with lines: JSON, with ?format=text as text, with ?follow=1
// one JSON object per line without an end.
func (h *Handler) apiLogs(w http.ResponseWriter, r *http.Request) {
	d, ok := h.machine(r.PathValue("mac"))
	if !ok {
		h.noMachine(w, r)
		return
	}
	q, err := queryOf(r.URL.Query(), h.config.Now())
	if err != nil {
		apiError(w, http.StatusBadRequest, "%v", err)
		return
	}
	if f := r.URL.Query().Get("follow"); f != "" && f != "0" {
		h.followLogs(w, r, d.MAC, q)
		return
	}
	lines := h.config.Timeline.Logs(d.MAC, q)
	if r.URL.Query().Get("format") == "text" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		for _, l := range lines {
			if timeline.WriteLine(w, l) != nil {
				return
			}
		}
		return
	}
	reply(w, map[string][]timeline.Line{"lines": append([]timeline.Line{}, lines...)})
}

func (h *Handler) apiLeases(w http.ResponseWriter, _ *http.Request) {
	reply(w, map[string][]Lease{"leases": h.leases()})
}

func (h *Handler) leases() []Lease {
	if h.config.Leases == nil {
		return []Lease{}
	}
	return append([]Lease{}, h.config.Leases()...)
}

func (h *Handler) apiHardware(w http.ResponseWriter, _ *http.Request) {
	s := h.hardwareState()
	if s == nil {
		apiError(w, http.StatusNotFound, "this server has no hardware files")
		return
	}
	reply(w, s)
}

func (h *Handler) apiPreview(w http.ResponseWriter, r *http.Request) {
	mac, err := hardware.NormalizeMAC(r.PathValue("mac"))
	if err != nil || h.config.Preview == nil {
		h.noMachine(w, r)
		return
	}
	p, err := h.config.Preview(mac)
	if err != nil {
		apiError(w, http.StatusNotFound, "%v", err)
		return
	}
	if r.URL.Query().Get("format") == "text" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(p.String()))
		return
	}
	reply(w, p)
}
