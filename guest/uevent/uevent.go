// Package uevent hears from the kernel which devices come and go.
//
// In come the messages of the kobject uevent netlink socket, out come Events. Parse is the format (the kernel's
// lib/kobject_uevent.c), Listen is the socket.
package uevent

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Event is one change of a device.
type Event struct {
	Action    string // "add", "remove", "change", "bind" ...
	DevPath   string // below /sys, such as /devices/pci0000:00/0000:00:04.0
	Subsystem string // "pci", "block", "input" ...
	DevName   string // below /dev, if it has a node: "vda", "input/event0"
	ModAlias  string // what modules.alias is asked for, if it has one
	Seq       uint64 // the kernel's running number
}

// ErrNotKernel is a message in another format than the kernel's, such as udev's own.
var ErrNotKernel = errors.New("not a kernel uevent")

// Parse reads one message: "ACTION@DEVPATH" and then KEY=VALUE, each ended by a NUL. Unknown keys are passed over.
func Parse(message []byte) (Event, error) {
	header, rest, _ := bytes.Cut(message, []byte{0})
	action, devPath, ok := strings.Cut(string(header), "@")
	if !ok || action == "" || !strings.HasPrefix(devPath, "/") {
		return Event{}, fmt.Errorf("%w: it begins with %.40q", ErrNotKernel, header)
	}
	e := Event{Action: action, DevPath: devPath}
	for field := range bytes.SplitSeq(rest, []byte{0}) {
		key, value, ok := strings.Cut(string(field), "=")
		if ok {
			e.set(key, value)
		}
	}
	return e, nil
}

func (e *Event) set(key, value string) {
	switch key {
	case "SUBSYSTEM":
		e.Subsystem = value
	case "DEVNAME":
		e.DevName = value
	case "MODALIAS":
		e.ModAlias = value
	case "SEQNUM":
		// A number that cannot be read is 0: the event still counts.
		e.Seq, _ = strconv.ParseUint(value, 10, 64)
	}
}
