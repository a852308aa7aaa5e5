package doctor

import (
	"fmt"
	"net"
	"path"
	"slices"
	"strings"

	"hooksmith/serve/ipxe"
)

// promised is what the configuration says that machines get, for those who cannot ask.
func (d *doctor) promised(all []player) (questions []*question) {
	if d.Expect == nil || d.Expect.Decide == nil {
		return nil
	}
	for i := range all {
		q := &question{player: &all[i]}
		if file := d.wanted(q.player); file != "" {
			q.answers = []*Answer{{Type: "promised", Port: serverPort, ServerID: d.Expect.Address.String(), NextServer: d.Expect.Address.String(), File: file, VendorClass: q.player.class}}
		}
		questions = append(questions, q)
	}
	return questions
}

// wanted is the file that the configuration has for a player, "" for none.
func (d *doctor) wanted(p *player) string {
	decision, ok := d.Expect.Decide(p.client(d.MAC.String()))
	if !ok {
		return ""
	}
	switch decision.Kind {
	case ipxe.BinaryTFTP:
		return decision.Binary
	case ipxe.BinaryURL:
		return "tftp://" + d.Expect.Address.String() + "/" + decision.Binary
	case ipxe.BinaryHTTP:
		return d.Expect.Base + "/ipxe/binary/" + decision.Binary
	case ipxe.Script:
		return d.Expect.Base + "/" + strings.ReplaceAll(d.MAC.String(), ":", "-") + "/auto.ipxe"
	}
	return ""
}

// compare holds the answers against the configuration of hooksmith serve.
func (d *doctor) compare() {
	e := d.Expect
	if e == nil || d.wire == nil || len(d.report.Servers) == 0 {
		return
	}
	if e.Answers && !slices.ContainsFunc(d.report.Servers, func(s Server) bool { return s.Address == e.Address.String() }) {
		d.problem(ExpectedServer, "", e.Address.String(), "is hooksmith serve running, on this network? A machine that it does not know gets no answer: name one with --mac",
			"%s says that %s answers, and it does not; %s does", e.Name, e.Address, d.report.Servers[0].Address)
	}
	for _, q := range d.questions {
		d.compareFile(q)
	}
}

func (d *doctor) compareFile(q *question) {
	if d.Expect.Decide == nil || q.player.class == "" || d.tooMuch(q) {
		return
	}
	decision, ok := d.Expect.Decide(q.player.client(d.MAC.String()))
	a := q.file()
	if !ok || decision.Kind == ipxe.Fixed || a == nil && decision.Kind == ipxe.Nothing {
		return
	}
	have := "nothing"
	if a != nil {
		have = a.where()
	}
	want, fits := "nothing", false
	switch decision.Kind {
	case ipxe.Nothing:
	case ipxe.Script:
		want = "a script of " + d.Expect.Base
		fits = a != nil && isScript(a.File) && sameHost(hostOf(a.url()), d.Expect.Address.String())
	default:
		want = decision.Binary + " of " + d.Expect.Address.String()
		fits = a != nil && path.Base(a.File) == decision.Binary && sameHost(hostOf(a.url()), d.Expect.Address.String())
		if a != nil && !isURL(a.File) && a.NextServer != "" && a.NextServer != d.Expect.Address.String() {
			d.report.add(Finding{Code: NextServerWrong, Severity: Problem, Clients: []string{q.player.name}, Server: a.who(), Lines: linesFor(NextServerWrong, a, q.player, d.Expect.Address.String()),
				Text: fmt.Sprintf("%s sends machines to %s, and the boot server of %s is %s", a.who(), a.NextServer, d.Expect.Name, d.Expect.Address), Do: "set next-server to " + d.Expect.Address.String()})
			return
		}
	}
	if fits {
		return
	}
	who := ""
	if a != nil {
		who = a.who()
	}
	d.report.add(Finding{Code: ExpectedFile, Severity: Problem, Clients: []string{q.player.name}, Server: who,
		Text: fmt.Sprintf("%s says that machines get %s (%s), and they get %s", d.Expect.Name, want, decision.Reason, clean(have, 200)),
		Do:   "write the other server's configuration anew: hooksmith dhcp-config"})
}

// sameHost compares addresses, and names without regard to case. A port does not count.
func sameHost(a, b string) bool {
	if host, _, err := net.SplitHostPort(a); err == nil {
		a = host
	}
	return strings.EqualFold(a, b)
}
