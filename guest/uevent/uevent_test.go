package uevent

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name    string
		message string
		want    Event
		err     error
	}{
		{
			"pci", "add@/devices/pci0000:00/0000:00:04.0\x00ACTION=add\x00DEVPATH=/devices/pci0000:00/0000:00:04.0\x00SUBSYSTEM=pci\x00" +
				"PCI_CLASS=FF00\x00MODALIAS=pci:v00001AF4d00001005sv00001AF4sd00000004bc00scFFi00\x00SEQNUM=1234\x00",
			Event{"add", "/devices/pci0000:00/0000:00:04.0", "pci", "", "pci:v00001AF4d00001005sv00001AF4sd00000004bc00scFFi00", 1234}, nil,
		},
		{"block", "remove@/devices/x/block/vda\x00SUBSYSTEM=block\x00DEVNAME=vda\x00SEQNUM=2", Event{"remove", "/devices/x/block/vda", "block", "vda", "", 2}, nil},
		{"bare", "change@/devices/x", Event{Action: "change", DevPath: "/devices/x"}, nil},
		{"odd fields", "add@/d\x00\x00=\x00X\x00SEQNUM=zz\x00DEVNAME=a=b\x00", Event{Action: "add", DevPath: "/d", DevName: "a=b"}, nil},
		{"udev", "libudev\x00\xfe\xed\xca\xfe", Event{}, ErrNotKernel},
		{"empty", "", Event{}, ErrNotKernel},
		{"no path", "add@relative\x00", Event{}, ErrNotKernel},
		{"no action", "@/devices/x\x00", Event{}, ErrNotKernel},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse([]byte(test.message))
			if got != test.want || !errors.Is(err, test.err) {
				t.Errorf("Parse = %+v, %v", got, err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("add@/devices/x\x00ACTION=add\x00SEQNUM=18446744073709551616\x00"))
	f.Add([]byte("libudev\x00"))
	f.Fuzz(func(t *testing.T, message []byte) {
		e, err := Parse(message)
		if err == nil && (e.Action == "" || !strings.HasPrefix(e.DevPath, "/")) {
			t.Errorf("Parse(%q) = %+v", message, e)
		}
		if strings.ContainsRune(e.Action+e.DevPath+e.DevName+e.ModAlias+e.Subsystem, 0) {
			t.Errorf("a NUL in %+v", e)
		}
	})
}

// TestListen hears a real event: the kernel sends one to every network namespace's owner when asked through uevent.
func TestListen(t *testing.T) {
	conn, err := Listen()
	if err != nil {
		t.Skipf("no uevent socket here: %v", err)
	}
	const trigger = "/sys/devices/virtual/mem/null/uevent"
	if err := os.WriteFile(trigger, []byte("change"), 0); err != nil {
		t.Skipf("cannot ask for an event: %v", err)
	}
	heard := make(chan Event)
	go func() {
		defer close(heard)
		for {
			e, err := conn.Next()
			if err != nil {
				if !errors.Is(err, os.ErrClosed) {
					t.Error(err)
				}
				return
			}
			if e.DevName == "null" {
				heard <- e
			}
		}
	}()
	select {
	case e := <-heard:
		if e.Action != "change" || e.Subsystem != "mem" || e.Seq == 0 {
			t.Errorf("heard %+v", e)
		}
	case <-time.After(2 * time.Second):
		t.Log("no event came: this is not the initial user namespace")
	}
	conn.Close()
	for range heard {
	}
}
