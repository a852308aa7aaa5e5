package doctor

import (
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
)

// file is the answer whose boot file a machine takes, nil if there is none: a DHCP server's that speaks PXE, then a
// proxy's, then a DHCP server's plain file (as EDK2 ranks them); then port 4011's.
func (q *question) file() *Answer {
	ranks := []func(a *Answer) bool{
		func(a *Answer) bool { return !a.proxy() && a.VendorClass != "" },
		func(a *Answer) bool { return a.proxy() },
		func(*Answer) bool { return true },
	}
	for _, rank := range ranks {
		for _, a := range q.answers {
			if a.File != "" && rank(a) {
				return a
			}
		}
	}
	return nil
}

// address is the first offer of an address.
func (q *question) address() *Answer {
	for _, a := range q.answers {
		if !a.proxy() {
			return a
		}
	}
	return nil
}

// judge looks at all answers: who gives them, and what is in each.
func (d *doctor) judge() {
	if d.wire == nil {
		return
	}
	d.judgeServers()
	for _, q := range d.questions {
		for _, text := range q.bad {
			d.problem(BadPacket, q.player.name, "", "repair or turn off that server", "%s", text)
		}
		for _, a := range q.answers {
			d.judgeAnswer(q.player, a)
		}
		d.judgeRivals(q)
	}
	d.judgeFiles()
}

// judgeServers finds out who is there.
func (d *doctor) judgeServers() {
	byName := map[string]int{}
	for _, q := range d.questions {
		for _, a := range q.answers {
			i, known := byName[a.who()]
			if !known {
				i = len(d.report.Servers)
				byName[a.who()] = i
				d.report.Servers = append(d.report.Servers, Server{Address: a.who(), MAC: a.MAC, FirstMillis: a.Millis})
			}
			s := &d.report.Servers[i]
			s.GivesAddresses = s.GivesAddresses || !a.proxy()
			s.GivesBoot = s.GivesBoot || a.boots()
			if q == first(d.questions) && a.Port == serverPort {
				s.FirstMillis = a.Millis
			}
		}
	}
	var giving []string
	for _, s := range d.report.Servers {
		if s.GivesAddresses {
			giving = append(giving, s.Address)
		}
	}
	switch {
	case len(d.report.Servers) == 0:
		d.problem(NoAnswer, "", "", "start a DHCP server; let ports 67 and 68/udp through; where a server knows its machines (reservations), name one with --mac; "+
			"check the VLAN, the relay (ip helper) and DHCP snooping on the way",
			"no DHCP server and no proxy answers within %s", d.Wait)
		return
	case len(giving) == 0:
		d.problem(NoAddressServer, "", "", "start the DHCP server that gives addresses, or let hooksmith serve do it (--dhcp-mode reservation or pool)",
			"only a proxy answers (%s): nobody gives machines an address", d.report.Servers[0].Address)
	case len(giving) > 1:
		d.rivals(giving)
	}
	d.judgePace()
}

// rivals are several servers that give addresses: bad if they say different things, else perhaps a failover pair.
func (d *doctor) rivals(giving []string) {
	report := d.doubt
	for _, q := range d.questions {
		files := map[string]bool{}
		for _, a := range q.answers {
			if !a.proxy() {
				files[a.NextServer+" "+a.File] = true
			}
		}
		if len(files) > 1 {
			report = d.problem
		}
	}
	report(RivalDHCP, "", giving[1], "turn off all but one (its MAC address is in --json), or block it at the switch (DHCP snooping); a failover pair has to give the same boot options",
		"%d servers give addresses: %s", len(giving), strings.Join(giving, ", "))
}

func (d *doctor) judgePace() {
	q := first(d.questions)
	if len(q.answers) == 0 {
		return
	}
	for _, a := range q.answers {
		if a.Port == serverPort && !a.proxy() && a.Millis > slowMillis {
			d.report.add(Finding{Code: SlowAnswer, Severity: Warning, Clients: []string{q.player.name}, Server: a.who(), Lines: lines(SlowAnswer, a, q.player),
				Text: "the offer of " + a.who() + " takes seconds: most likely the server pings the address first; every machine waits, iPXE twice", Do: "turn off the ping check, or use reservations"})
		}
	}
}

// judgeAnswer looks at one answer alone.
func (d *doctor) judgeAnswer(p *player, a *Answer) {
	fault := func(code Code, severity Severity, do, text string) {
		d.report.add(Finding{Code: code, Severity: severity, Clients: []string{p.name}, Server: a.who(), Text: text, Do: do, Lines: lines(code, a, p)})
	}
	if a.ServerID == "" && a.Port == serverPort {
		fault(BadPacket, Problem, "repair that server", "the offer of "+a.From+" has no server identifier (option 54): clients cannot take it")
	}
	if p.class == "" {
		if a.boots() || a.vendor && strings.HasPrefix(a.VendorClass, pxeClient) {
			fault(BootForEveryone, Warning, "tie the boot options to option 60 and 93",
				a.who()+" gives boot options to clients that do not boot from the network (file "+quoted(a.File)+")")
		}
		return
	}
	if a.tooLong > 0 {
		fault(FileNameTooLong, Problem, "shorten the path: DHCP's field holds 127 octets, and firmware cuts off the rest", "the boot file's name from "+a.who()+" is too long: "+quoted(a.File))
	}
	if strings.EqualFold(a.option66, "none") || strings.EqualFold(a.ServerName, "none") {
		fault(Option66None, Problem, "leave the name empty", a.who()+` sends "none" as the name of the TFTP server: firmware that looks it up fails`)
	} else if ip, err := netip.ParseAddr(a.option66); err == nil && a.NextServer != "" && ip.String() != a.NextServer && !isURL(a.File) {
		fault(Option66Differs, Warning, "let both say the same", a.who()+" sends machines to "+a.NextServer+" by siaddr and to "+a.option66+" by option 66: it depends on the firmware which")
	}
	if a.File == "" {
		return
	}
	if p.class == httpClient {
		d.judgeHTTPAnswer(a, fault)
	} else if a.NextServer == "" && !isURL(a.File) && a.Port == serverPort {
		fault(NextServerMissing, Problem, "set next-server to the address of the TFTP server", a.who()+" names the file "+quoted(a.File)+" and no next-server (siaddr is 0.0.0.0)")
	}
	if p.ours() && !isScript(a.File) {
		fault(Loop, Problem, "match the user class "+string(classes(p)[0])+" in both forms, and give it the script's URL",
			a.who()+" gives "+p.name+" the file "+quoted(a.File)+" again instead of a script: it loads itself for ever")
	}
}

// tooMuch notes a stock iPXE without HTTP that is given an http URL. Such builds are rare, and dnsmasq cannot tell them.
func (d *doctor) tooMuch(q *question) bool {
	a := q.file()
	if q.player.stock() && !q.player.http && a != nil && strings.HasPrefix(a.File, "http") {
		d.report.note(q.player.name + " is given " + clean(a.File, 200) + ", which it cannot fetch: right, unless such builds (rare) are here")
		return true
	}
	return false
}

func classes(p *player) []string { return p.client("").UserClasses }

func (d *doctor) judgeHTTPAnswer(a *Answer, fault func(Code, Severity, string, string)) {
	if !strings.HasPrefix(a.VendorClass, httpClient) {
		fault(Option60Missing, Problem, "send option 60 HTTPClient back, whether it is asked for or not", a.who()+" answers UEFI HTTP boot without option 60 HTTPClient: firmware does not take it")
	}
	if u, err := url.Parse(a.File); err != nil || u.Scheme != "http" && u.Scheme != "https" {
		fault(NotAURL, Problem, "give architectures 16 and 19 the whole URL", a.who()+" names "+quoted(a.File)+" to UEFI HTTP boot, which needs an http URL")
	}
}

// judgeRivals compares what several servers name to one machine.
func (d *doctor) judgeRivals(q *question) {
	var naming []*Answer
	for _, a := range q.answers {
		if a.File != "" && !slices.ContainsFunc(naming, func(o *Answer) bool {
			return o.File == a.File && o.NextServer == a.NextServer || o.who() == a.who()
		}) {
			naming = append(naming, a)
		}
	}
	if len(naming) < 2 || q.player.class == "" {
		return
	}
	d.problem(RivalBoot, q.player.name, naming[1].who(), "let one server alone name boot files: take the boot options out of the other", "%s and %s name different files to the same machine (%s; %s): it depends on the firmware and on luck which it loads",
		naming[0].who(), naming[1].who(), naming[0].where(), naming[1].where())
}

func (a *Answer) where() string {
	if isURL(a.File) {
		return a.File
	}
	return a.loadsFrom() + ":" + a.File
}

// judgeFiles looks for machines that get nothing to boot.
func (d *doctor) judgeFiles() {
	if len(d.report.Servers) == 0 {
		return
	}
	var none []string
	some := false
	for _, q := range d.questions {
		switch p := q.player; {
		case !p.firmware():
		case q.file() != nil:
			some = true
		case len(q.answers) > 0 && d.sentTo4011(q) != nil: // said already
		default:
			none = append(none, p.name)
		}
	}
	const do = "give them a binary by option 93; hooksmith dhcp-config writes it for other servers"
	switch {
	case len(none) > 0 && !some && !d.report.Has(PXE4011Blocked):
		d.report.add(Finding{Code: NoBootFile, Severity: Problem, Clients: none, Lines: lines(NoBootFile, &Answer{ServerID: "ADDRESS"}, d.question(none[0]).player), Text: "machines are answered, but no server names a boot file: for those that it knows, try --mac", Do: do})
	default:
		for _, name := range none {
			if name == "IA32 UEFI PXE" {
				d.report.note(name + " gets nothing to boot: right, unless such machines are here")
				continue
			}
			d.report.add(Finding{Code: NoBootFile, Severity: Warning, Clients: []string{name}, Text: "no server names a boot file for some kinds of machine", Do: do})
		}
	}
	for _, q := range d.questions {
		if p := q.player; p.ours() && q.file() == nil && d.loadsBinary(p.name) {
			d.problem(NoBootFile, p.name, "", "give the user class Tinkerbell the URL of the script", "iPXE is loaded, and then no server names a script")
		}
	}
}

// loadsBinary tells whether some firmware gets a binary that becomes this player.
func (d *doctor) loadsBinary(name string) bool {
	return slices.ContainsFunc(d.questions, func(q *question) bool {
		return q.player.firmware() && q.player.next == name && q.file() != nil
	})
}

func isURL(file string) bool { return strings.Contains(file, "://") }

// isScript goes by the name: binaries have the extensions of binaries.
func isScript(file string) bool {
	if u, err := url.Parse(file); err == nil {
		file = u.Path
	}
	switch strings.ToLower(path.Ext(file)) {
	case ".efi", ".kpxe", ".kkpxe", ".kkkpxe", ".pxe", ".lkrn", ".0", ".com":
		return false
	}
	return path.Base(file) != "loop.ipxe"
}

func quoted(s string) string { return `"` + clean(s, 200) + `"` }
