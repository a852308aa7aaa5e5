package bootlog

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"sync"
	"testing"
	"time"
)

func TestNewRemote(t *testing.T) {
	for host, want := range map[string]string{
		"10.0.0.1": "10.0.0.1:514", "10.0.0.1:5514": "10.0.0.1:5514", "logs.example.com": "logs.example.com:514",
		"fd00::1": "[fd00::1]:514", "[fd00::1]": "[fd00::1]:514", "[fd00::1]:1514": "[fd00::1]:1514",
	} {
		if got := NewRemote(host).address; got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
}

// What is printed arrives, also what was before anybody sent; quiet lines stay here.
func TestRemote(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	remote := NewRemote(server.LocalAddr().String())
	log := &Log{Remote: remote.Send}
	log.Printf("network: eth0 up")
	log.Debugf("quiet")
	log.Printf("docker: %s\x1b\n", "ready")
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { remote.Run(ctx) })

	if err := server.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	for _, want := range []string{"network: eth0 up", "docker: ready", "bootkit: worker started"} {
		if want == "bootkit: worker started" { // later
			log.Printf("%s", want)
		}
		n, _, err := server.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(buf[:n]); !regexp.MustCompile(`^<30>1 - \S+ hookos - - - ` + want + `$`).MatchString(got) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
}

// A boot without a server to reach is not held up, and ends.
func TestRemoteUnreachable(t *testing.T) {
	remote := NewRemote("nobody.invalid")
	for i := range 10 * waiting {
		remote.Send(fmt.Sprint(i))
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); remote.Run(ctx) }()
	stop()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("it does not end")
	}
}
