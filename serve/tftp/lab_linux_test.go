package tftp

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// lab is a server and a client namespace on one veth pair.
type lab struct {
	serverNS, peerNS string
	serverIP, peerIP string
}

func newLab(t *testing.T, mtu int) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("iproute2 is not installed")
	}
	id := fmt.Sprint(os.Getpid())
	l := &lab{serverNS: "hks-tftp-s" + id, peerNS: "hks-tftp-c" + id, serverIP: "10.91.0.1", peerIP: "10.91.0.2"}
	t.Cleanup(func() {
		for _, ns := range []string{l.serverNS, l.peerNS} {
			exec.Command("ip", "netns", "del", ns).Run()
		}
	})
	for _, line := range []string{
		"netns add " + l.serverNS, "netns add " + l.peerNS,
		"-n " + l.serverNS + " link add hks0 mtu " + fmt.Sprint(mtu) + " type veth peer name hks1 mtu " + fmt.Sprint(mtu) + " netns " + l.peerNS,
		"-n " + l.serverNS + " addr add 10.91.0.1/24 dev hks0", "-n " + l.serverNS + " addr add 10.91.0.7/24 dev hks0",
		"-n " + l.serverNS + " addr add fd91::1/64 dev hks0 nodad", "-n " + l.serverNS + " addr add fd91::7/64 dev hks0 nodad",
		"-n " + l.peerNS + " addr add 10.91.0.2/24 dev hks1", "-n " + l.peerNS + " addr add fd91::2/64 dev hks1 nodad",
		"-n " + l.serverNS + " link set hks0 up", "-n " + l.peerNS + " link set hks1 up",
		"-n " + l.serverNS + " link set lo up", "-n " + l.peerNS + " link set lo up",
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Skipf("ip %s: %v %s", line, err, out)
		}
	}
	return l
}

func (l *lab) server(args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", l.serverNS}, args...)...)
}

func (l *lab) peer(args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", l.peerNS}, args...)...)
}
