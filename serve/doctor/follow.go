package doctor

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"

	"hooksmith/serve/ipxe"
)

// followAll boots every player as far as it goes. Binaries come before scripts: a server that watches for machines
// that load binaries again and again sees that these go on.
func (d *doctor) followAll(ctx context.Context) {
	reachable := d.own.IsValid()
	for _, q := range d.questions {
		if !reachable && q.file() != nil {
			d.noAddress()
		}
	}
	if reachable {
		for _, q := range d.questions {
			if a := q.file(); a != nil && !isScript(a.File) && !q.player.ours() {
				d.program(ctx, q, a)
			}
		}
	}
	for _, q := range d.questions {
		c := Client{Name: q.player.name, Answers: []Answer{}, Steps: d.asked(q)}
		for _, a := range q.answers {
			c.Answers = append(c.Answers, *a)
		}
		if reachable && q.player.class != "" && ctx.Err() == nil {
			c.Steps = append(c.Steps, d.follow(ctx, q)...)
		}
		d.mark(&c)
		d.report.Clients = append(d.report.Clients, c)
	}
}

// secure looks at the HTTPS port of the boot server, which no script may name yet.
func (d *doctor) secure(ctx context.Context) {
	if d.Expect != nil && d.Expect.HTTPS != "" && d.own.IsValid() && ctx.Err() == nil {
		d.report.addAll(d.fetch.get(ctx, d.Expect.HTTPS+"/boot.ipxe", byIPXE).findings, "")
	}
}

// mark puts the findings about a client on the steps that they are about.
func (d *doctor) mark(c *Client) {
	for _, f := range d.report.Findings {
		stage, about := stageOf(f.Code), slices.Contains(f.Clients, c.Name)
		for i := range c.Steps {
			s := &c.Steps[i]
			if !about || s.Stage != stage || s.State == Bad {
				continue
			}
			if s.State = Doubt; f.Severity == Problem {
				s.State = Bad
			}
		}
	}
}

// lenient makes a warning of files that one architecture lacks, while machines of another boot: there may be none of
// it. Options.Architectures says which there are.
func (d *doctor) lenient() {
	if len(d.Architectures) > 0 {
		return
	}
	boots := map[string]bool{}
	for _, c := range d.report.Clients {
		for _, s := range c.Steps {
			if s.Stage == Initramfs && s.State != Bad {
				boots[d.question(c.Name).player.family()] = true
			}
		}
	}
	for i, f := range d.report.Findings {
		if f.Code != HTTPStatus && f.Code != TFTPFile || len(f.Clients) == 0 {
			continue
		}
		family := d.question(f.Clients[0]).player.family()
		same := !slices.ContainsFunc(f.Clients, func(name string) bool { return d.question(name).player.family() != family })
		if same && !boots[family] && len(boots) > 0 {
			d.report.Findings[i].Severity = Warning
			d.report.note("machines of " + family + " cannot boot here, others can: --arch says which there are")
		}
	}
}

// stageOf is where in the picture a finding of DHCP stands. Others are marked where they are found.
func stageOf(code Code) Stage {
	switch code {
	case RivalBoot, BadPacket, Option66None, Option66Differs, Option60Missing, BootForEveryone, FileNameTooLong, NotAURL, NextServerMissing, NextServerWrong, SlowAnswer, Loop, NoBootFile, ExpectedFile:
		return DHCP
	case PXE4011Blocked:
		return Proxy
	}
	return ""
}

// asked is the stages of DHCP: an address, and a proxy.
func (d *doctor) asked(q *question) []Step {
	dhcp, proxy := Step{Stage: DHCP, State: Skipped, Text: "no answer"}, Step{Stage: Proxy, State: Skipped, Text: "none"}
	if d.wire == nil {
		dhcp.Text = "not asked: the right is missing"
		return []Step{dhcp, proxy}
	}
	if a := q.address(); a != nil {
		dhcp = Step{DHCP, OK, a.who(), "offers " + a.Address + naming(a), a.Millis}
	} else if q.player.firmware() || q.player.class == "" && !d.proxiesOnly() {
		dhcp.State = Bad
	}
	for _, a := range q.answers {
		if a.proxy() {
			proxy = Step{Proxy, OK, a.who(), strings.TrimPrefix(naming(a), ", "), a.Millis}
			if a.Port == pxePort {
				proxy.Text += " (port 4011)"
			}
		}
	}
	return []Step{dhcp, proxy}
}

func (d *doctor) proxiesOnly() bool {
	return len(d.report.Servers) > 0 && !slices.ContainsFunc(d.report.Servers, func(s Server) bool { return s.GivesAddresses })
}

func naming(a *Answer) string {
	if a.File == "" {
		return ", no file"
	}
	return ", file " + clean(a.where(), 200)
}

// follow loads what a player is told to.
func (d *doctor) follow(ctx context.Context, q *question) []Step {
	a := q.file()
	switch p := q.player; {
	case a == nil || d.tooMuch(q):
		return nil
	case p.ours() && !isScript(a.File): // a loop, said by judge
		return []Step{{Stage: IPXE, State: Bad, From: a.where(), Text: "gets a binary again"}}
	case len(p.user) > 0 && isScript(a.File):
		return d.script(ctx, q, a)
	}
	return d.programs(ctx, q, a)
}

// address is where a boot file is.
func (a *Answer) url() string {
	if isURL(a.File) {
		return a.File
	}
	return (&url.URL{Scheme: "tftp", Host: a.loadsFrom(), Path: "/" + strings.TrimPrefix(a.File, "/")}).String()
}

// program fetches a boot program and looks whether the player can run it.
func (d *doctor) program(ctx context.Context, q *question, a *Answer) (*file, ipxe.Binary) {
	what := byIPXE
	if q.player.class == httpClient {
		what = byFirmware
	}
	got := d.fetch.get(ctx, a.url(), what)
	d.report.addAll(got.findings, q.player.name)
	if !got.ok {
		d.elsewhere(ctx, q, a, got)
		return got, ipxe.Binary{}
	}
	u, _ := url.Parse(a.url()) // get has parsed it
	b := ipxe.Inspect(path.Base(u.Path), got.content)
	if path.Ext(b.Name) == ".ipxe" { // a script that breaks a loop
		return got, b
	}
	want := q.player.arch.Platform()
	fault := Finding{Code: WrongArchitecture, Severity: Problem, Clients: []string{q.player.name}, Server: a.who(), Lines: lines(WrongArchitecture, a, q.player),
		Do: "branch on option 93: " + q.player.arch.String() + " needs a program for " + string(want)}
	switch {
	case b.Platform == want:
		return got, b
	case b.Platform != ipxe.None:
		fault.Text = fmt.Sprintf("%s gives %s a program for %s: %s", a.who(), q.player.arch, b.Platform, clean(a.where(), 200))
	case want != ipxe.BIOS:
		fault.Text = fmt.Sprintf("what %s gives %s is no UEFI program: %s begins with %s", a.who(), q.player.arch, clean(a.where(), 200), beginning(got.content))
	default:
		return got, b // BIOS programs have no header to know them by
	}
	d.report.add(fault)
	return got, b
}

// beginning is how a file that is no program begins.
func beginning(content []byte) string {
	line, _, _ := bytes.Cut(content[:min(len(content), 60)], []byte("\n"))
	return quoted(string(line))
}

// elsewhere looks for the TFTP server at the other addresses that came up, when next-server has none.
func (d *doctor) elsewhere(ctx context.Context, q *question, a *Answer, got *file) {
	if isURL(a.File) || !slices.ContainsFunc(got.findings, func(f Finding) bool { return f.Code == TFTPUnreachable }) {
		return
	}
	var others []string
	for _, o := range d.questions {
		for _, b := range o.answers {
			u, err := url.Parse(b.File)
			if err == nil && u.Host != "" {
				others = append(others, u.Hostname())
			}
			others = append(others, b.who(), b.option66)
		}
	}
	if d.Expect != nil {
		others = append(others, d.Expect.Address.String())
	}
	slices.Sort(others)
	for _, other := range slices.Compact(others) {
		host, err := netip.ParseAddr(other)
		if err != nil || other == a.loadsFrom() {
			continue
		}
		alternative := *a
		alternative.NextServer = other
		if d.fetch.get(ctx, alternative.url(), byIPXE).ok {
			d.report.add(Finding{Code: NextServerWrong, Severity: Problem, Clients: []string{q.player.name}, Server: a.who(), Lines: linesFor(NextServerWrong, a, q.player, other),
				Text: fmt.Sprintf("%s sends machines to %s, where no TFTP server answers; %s has the file %s", a.who(), a.loadsFrom(), host, quoted(a.File)), Do: "set next-server to " + host.String()})
			return
		}
	}
}

// addAll adds findings about a file to those of a client.
func (r *Report) addAll(findings []Finding, client string) {
	for _, f := range findings {
		if client != "" {
			f.Clients = []string{client}
		}
		r.add(f)
	}
}

// state is a file's mark.
func (f *file) state() State {
	switch {
	case !f.ok || slices.ContainsFunc(f.findings, func(o Finding) bool { return o.Severity == Problem }):
		return Bad
	case len(f.findings) > 0:
		return Doubt
	}
	return OK
}

// said is the step of a file.
func (f *file) said(stage Stage) Step {
	s := Step{Stage: stage, State: f.state(), From: f.url, Text: f.text, Millis: f.took.Milliseconds()}
	if !f.ok {
		s.Text = "not to be had"
		if len(f.findings) > 0 {
			s.Text = f.findings[0].Text
		}
	}
	return s
}

// programs loads the program, and goes on as what that becomes.
func (d *doctor) programs(ctx context.Context, q *question, a *Answer) []Step {
	got, b := d.program(ctx, q, a)
	step := got.said(Fetch)
	if slices.ContainsFunc(d.report.Findings, func(f Finding) bool {
		return (f.Code == WrongArchitecture || f.Code == NextServerWrong) && slices.Contains(f.Clients, q.player.name)
	}) {
		step.State = Bad
	}
	steps := []Step{step}
	switch {
	case !got.ok || step.State == Bad:
		return steps
	case b.IPXE == ipxe.No:
		d.report.note(b.Name + " is no iPXE: what it loads next is not known here")
		return append(steps, Step{Stage: IPXE, State: Skipped, Text: b.Name + " is no iPXE"})
	case path.Ext(b.Name) == ".ipxe":
		return append(steps, Step{Stage: IPXE, State: Skipped, Text: "a script by TFTP"})
	}
	stock := b.IPXE == ipxe.Yes && b.UserClass == ""
	next := d.question(q.player.next)
	if stock && q.player.then != "" {
		next = d.question(q.player.then)
	}
	if stock && q.player.stock() { // a stock iPXE that is chained to another
		next = q
	}
	return append(steps, d.becomes(ctx, q, a, next, stock)...)
}

// becomes goes on with what the iPXE that was loaded is told.
func (d *doctor) becomes(ctx context.Context, q *question, loaded *Answer, next *question, stock bool) []Step {
	if next == nil {
		return nil
	}
	a := next.file()
	switch {
	case a == nil:
		return []Step{{Stage: IPXE, State: Bad, Text: next.player.name + " is told nothing"}}
	case isScript(a.File):
		return d.script(ctx, next, a)
	case stock && a.url() == loaded.url():
		if auto := d.autoexec(ctx, loaded); auto != nil {
			return append([]Step{{Stage: IPXE, State: OK, From: auto.url, Text: "runs autoexec.ipxe beside it"}}, d.run(ctx, next, auto)...)
		}
		d.problem(Loop, q.player.name, a.who(), "give the user class iPXE the script, or give out a binary that has a user class of its own (Tinkerbell's has)",
			"%s is a stock iPXE, and %s gives a stock iPXE the same file: it loads itself for ever", clean(loaded.where(), 200), a.who())
		return []Step{{Stage: IPXE, State: Bad, From: a.where(), Text: "gets the same binary again"}}
	case next.player.stock():
		got, b := d.program(ctx, next, a)
		if ours := d.question(next.player.next); got.ok && ours != nil && ours.file() != nil && isScript(ours.file().File) && b.Platform == next.player.arch.Platform() {
			return d.script(ctx, ours, ours.file())
		}
	}
	return []Step{{Stage: IPXE, State: Bad, From: a.where(), Text: "gets a binary again"}}
}

// autoexec is the script that a stock iPXE runs from where it was loaded, nil if there is none.
func (d *doctor) autoexec(ctx context.Context, loaded *Answer) *file {
	u, err := url.Parse(loaded.url())
	if err != nil {
		return nil
	}
	u.Path = path.Join(path.Dir(u.Path), "autoexec.ipxe")
	got := d.fetch.get(ctx, u.String(), byIPXE)
	if !got.ok || !beginsScript.Match(got.content) {
		return nil
	}
	return got
}

// script fetches the script that a player is told to run, and runs it.
func (d *doctor) script(ctx context.Context, q *question, a *Answer) []Step {
	got := d.fetch.get(ctx, a.url(), byIPXE)
	d.report.addAll(got.findings, q.player.name)
	step := Step{Stage: IPXE, State: OK, From: a.who(), Text: q.player.name + " is told " + clean(a.where(), 200), Millis: a.Millis}
	return append([]Step{step}, d.run(ctx, q, got)...)
}
