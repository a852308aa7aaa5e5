package dhcp

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// packetFile is a socket of a family that package net does not know, in Go's poller.
type packetFile struct{ file *os.File }

func openPacketFile(family, kind, protocol int, bind unix.Sockaddr) (*packetFile, error) {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, err
	}
	if bind != nil {
		if err := unix.Bind(fd, bind); err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	return &packetFile{os.NewFile(uintptr(fd), "socket")}, nil
}

// openARP hears ARP on all interfaces.
func openARP() (*packetFile, error) {
	const protocol = unix.ETH_P_ARP<<8&0xff00 | unix.ETH_P_ARP>>8
	return openPacketFile(unix.AF_PACKET, unix.SOCK_DGRAM, protocol, nil)
}

// openLinks hears of changes of interfaces and their IPv4 addresses.
func openLinks() (*packetFile, error) {
	return openPacketFile(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE,
		&unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR})
}

// readAll calls got for every packet, with the interface's index of those that have one, until wake or close.
func (f *packetFile) readAll(got func(p []byte, index int)) {
	raw, err := f.file.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 64<<10)
	for {
		var n int
		var from unix.Sockaddr
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), buf, 0)
			return !errors.Is(failed, unix.EAGAIN)
		})
		switch {
		case err != nil:
			return
		case failed != nil:
			// A full buffer (ENOBUFS) means that something was missed, an interface that went down (ENETDOWN) nothing.
			time.Sleep(10 * time.Millisecond)
			got(nil, 0)
			continue
		}
		index := 0
		if l, ok := from.(*unix.SockaddrLinklayer); ok {
			index = l.Ifindex
		}
		got(buf[:n], index)
	}
}

// wake ends readAll.
func (f *packetFile) wake() { f.file.SetReadDeadline(time.Unix(1, 0)) }
