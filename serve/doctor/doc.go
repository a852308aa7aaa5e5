// Package doctor finds out why machines do not boot from a network, from a machine's side of the wire.
//
// In: an interface, and what is expected if that is known. It plays every kind of machine that boots (clients.go), hears
// every server that answers (wire_linux.go, ask.go), fetches what they name (tftp.go, http.go), runs the scripts
// (script.go) as far as iPXE would, and judges (judge.go, follow.go). Out: a Report, whose Findings have a code, the
// reason and the line to change (fixes.go); Picture draws it.
//
// It changes nothing: it sends DHCPDISCOVER and, where a firmware would, a request to port 4011. It takes a lease only
// if Options.FullExchange says so, and gives that back. Everything it reads is bounded: it talks to servers that may be
// broken or hostile. Open doctor.go first: Run is the whole story.
package doctor
