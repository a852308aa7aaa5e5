package admin

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hooksmith/serve/timeline"
)

// rowView is a machine in the table.
type rowView struct {
	ID, MAC, Name, IP, State, StateWord, Stage, Progress, Took, Seen, SeenISO, Search, BarLabel string
	Order                                                                                       string
	Problems                                                                                    []timeline.Problem
	Segments                                                                                    []segment
}

// segment is a piece of a bar, in thousandths of its width.
type segment struct {
	X, W         int
	Class, Title string
}

func rowOf(m *timeline.Machine, now time.Time) rowView {
	v := rowView{ID: "m-" + strings.ReplaceAll(m.MAC, ":", ""), MAC: m.MAC, Name: cmp.Or(m.Hostname, m.MAC), IP: m.IP, State: string(m.State),
		StateWord: stateWord(m.State), Search: searchText(m), Problems: m.Problems}
	began := m.Last
	if m.Boot != nil {
		began = m.Boot.Start
		v.Stage, v.Progress = m.Stage.Title(), progress(m.Stage)
		if s := m.Boot.Steps; len(s) > 0 && s[len(s)-1].Running && s[len(s)-1].Size > 0 {
			last := &s[len(s)-1]
			v.Progress = fmt.Sprintf("%d%% of %s", min(100, last.Bytes*100/last.Size), timeline.Bytes(last.Size))
		}
		v.Took = timeline.Duration(m.Boot.Took())
		v.Segments = segmentsOf(m.Boot, m.State == timeline.Stuck)
		v.BarLabel = barLabel(m.Boot)
	}
	if !m.Last.IsZero() {
		v.Seen, v.SeenISO = timeline.Duration(now.Sub(m.Last))+" ago", m.Last.UTC().Format(time.RFC3339Nano)
	}
	v.Order = fmt.Sprintf("%d-%019d-%s", m.State.Rank(), math.MaxInt64-max(began.UnixNano(), 0), m.MAC)
	return v
}

// classOf is the colour of a stage.
func classOf(s timeline.Step) string {
	switch {
	case s.Phase == timeline.PhaseOS || s.Stage == timeline.StageSyslog || s.Stage == timeline.StageWorker:
		return "g-system"
	case s.Stage == timeline.StageProbe || s.Stage == timeline.StageBinary:
		return "g-binary"
	case s.Stage == timeline.StageScript, s.Stage == timeline.StageKernel, s.Stage == timeline.StageInitramfs, s.Stage == timeline.StageFile:
		return "g-" + string(s.Stage)
	}
	return "g-dhcp"
}

// scale puts times on an axis of 1000.
type scale struct {
	start time.Time
	span  time.Duration
}

func (s scale) x(t time.Time) int {
	return int(min(1000, max(0, int64(t.Sub(s.start))*1000/int64(max(s.span, time.Millisecond)))))
}

// segmentsOf makes the bar of a boot: each step lasts until the next begins, so
// that the bar shows where the seconds went, waiting included. Steps of one
// colour are one segment. A stuck boot ends in red.
func segmentsOf(b *timeline.Boot, stuck bool) (out []segment) {
	if len(b.Steps) == 0 {
		return nil
	}
	last := b.Start.Add(b.Took())
	span := b.Took()
	if stuck {
		span = span*10/9 + time.Second
	}
	axis := scale{b.Start, max(span, time.Second)}
	for i, s := range b.Steps {
		end := last
		if i+1 < len(b.Steps) {
			end = b.Steps[i+1].Start
		}
		x, to, class := axis.x(s.Start), axis.x(end), classOf(s)
		if n := len(out); n > 0 && out[n-1].Class == class {
			out[n-1].W = max(out[n-1].W, to-out[n-1].X)
			continue
		}
		out = append(out, segment{X: x, W: max(to-x, 4), Class: class, Title: s.Stage.Title()})
	}
	if stuck {
		x := axis.x(last)
		out = append(out, segment{X: x, W: 1000 - x, Class: "g-stuck", Title: "stuck"})
	}
	return out
}

// barLabel tells in words what the bar shows.
func barLabel(b *timeline.Boot) string {
	var words []string
	before := timeline.Stage("")
	for _, s := range b.Steps {
		if s.Stage != before {
			words = append(words, s.Stage.Title()+" at "+timeline.Duration(s.Start.Sub(b.Start)))
		}
		before = s.Stage
	}
	return strings.Join(words, ", ")
}

type fact struct {
	Name, Value string
	Mono        bool
}

type option struct {
	Value, Word string
	Selected    bool
}

type lineView struct {
	ISO, Time, Word, App, Text string
	Severity                   int
}

// machineView is a machine's own page.
type machineView struct {
	frame
	Row        rowView
	Facts      []fact
	Boots      []ganttView
	LogText    string
	Severities []option
	Lines      []lineView
	Preview    string
}

// ganttView is one boot, a row per step on a time axis.
type ganttView struct {
	Old              bool
	Heading, Summary string
	Ticks            []tickView
	Steps            []stepView
}

type tickView struct {
	X       int
	Percent string
	Label   string
}

type stepView struct {
	At, Title, Phase, Class, Words string
	X, W                           int
	Bad                            bool
}

const pageLines = 500

func (h *Handler) machineView(d timeline.Detail, r *http.Request) machineView {
	now := h.config.Now()
	v := machineView{Row: rowOf(&d.Machine, now), Facts: factsOf(&d, now)}
	v.MAC = d.MAC
	if d.Boot != nil {
		v.Boots = append(v.Boots, ganttOf(d.Boot, false))
	}
	for i := range d.History {
		v.Boots = append(v.Boots, ganttOf(&d.History[i], true))
	}
	query := r.URL.Query()
	query.Set("tail", strconv.Itoa(pageLines))
	q, err := queryOf(query, now)
	if err != nil { // a form cannot do that
		q = timeline.Query{Tail: pageLines}
	}
	v.LogText = q.Text
	chosen := query.Get("severity")
	for _, s := range []option{{"", "all", false}, {"6", "info", false}, {"4", "warning", false}, {"3", "err", false}} {
		s.Selected = s.Value == chosen
		v.Severities = append(v.Severities, s)
	}
	for _, l := range h.config.Timeline.Logs(d.MAC, q) {
		v.Lines = append(v.Lines, lineView{ISO: l.Time.Format(time.RFC3339Nano), Time: l.Time.Format("15:04:05.000"), Severity: l.Severity,
			Word: timeline.SeverityName(l.Severity), App: cmp.Or(l.App, l.Host), Text: l.Text})
	}
	return v
}

func factsOf(d *timeline.Detail, now time.Time) (out []fact) {
	add := func(name, value string, mono bool) {
		if value != "" {
			out = append(out, fact{name, value, mono})
		}
	}
	add("MAC address", d.MAC, true)
	add("Address", d.IP, true)
	add("Architecture", d.Arch, false)
	add("Says it is", d.Client, false)
	if d.Known {
		add("Hardware data", "known", false)
	} else {
		add("Hardware data", "not in any file", false)
	}
	if d.Boot != nil {
		add("Stage", d.Stage.Title()+" ("+progress(d.Stage)+")", false)
		add("Boots seen", strconv.Itoa(d.Count), false)
		add("Last heard", timeline.Duration(now.Sub(d.Last).Truncate(time.Second))+" ago", false)
	}
	return out
}

func ganttOf(b *timeline.Boot, old bool) ganttView {
	took := b.Took()
	g := ganttView{Old: old, Heading: "Boot of " + b.Start.Format(time.DateTime), Summary: "came to " + b.Stage.Title() + " in " + timeline.Duration(took)}
	axis := scale{b.Start, niceSpan(took)}
	g.Ticks = ticksOf(axis.span)
	for i := range b.Steps {
		s := &b.Steps[i]
		x := axis.x(s.Start)
		g.Steps = append(g.Steps, stepView{At: "+" + timeline.Duration(s.Start.Sub(b.Start)), Title: s.Stage.Title(), Phase: string(s.Phase),
			Class: classOf(*s), Words: s.Words(), X: min(x, 994), W: max(axis.x(s.End)-x, 6), Bad: s.Aborted})
	}
	if b.Dropped > 0 {
		g.Summary += fmt.Sprintf(", %d steps left out", b.Dropped)
	}
	return g
}

var niceSteps = []time.Duration{100 * time.Millisecond, 250 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
	15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour}

// niceStep is the distance of ticks so that there are at most five.
func niceStep(took time.Duration) time.Duration {
	for _, s := range niceSteps {
		if took <= 4*s {
			return s
		}
	}
	return (took/4 + 24*time.Hour).Truncate(24 * time.Hour)
}

// niceSpan is the length of an axis that ends at a tick.
func niceSpan(took time.Duration) time.Duration {
	step := niceStep(took)
	return max((took+step-1)/step, 1) * step
}

func ticksOf(span time.Duration) (out []tickView) {
	step := niceStep(span)
	for t := time.Duration(0); t <= span; t += step {
		x := int(int64(t) * 1000 / int64(span))
		out = append(out, tickView{X: min(x, 999), Percent: fmt.Sprintf("%.1f", float64(x)/10), Label: timeline.Duration(t)})
	}
	return out
}
