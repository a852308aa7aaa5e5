package uevent

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// kernelGroup is the multicast group of the kernel's own messages; 2 is udev's.
	kernelGroup = 1
	// receiveBuffer holds the burst of a large machine's coldplug. The default of 208 KiB is some 400 events.
	receiveBuffer = 4 << 20
	// maxMessage is above UEVENT_BUFFER_SIZE (2048) plus the header.
	maxMessage = 8 << 10
)

// ErrLost means that events came faster than they were read, and some are gone.
var ErrLost = errors.New("uevents were lost")

// Conn is a socket that hears uevents.
type Conn struct {
	file *os.File
	raw  interface {
		Read(func(fd uintptr) bool) error
	}
	buffer [maxMessage]byte
}

// Listen opens the socket. Events from then on are kept until Next takes them.
func Listen() (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("opening the uevent socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelGroup}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("binding the uevent socket: %w", err)
	}
	// Needs CAP_NET_ADMIN; without it the default must do.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	file := os.NewFile(uintptr(fd), "uevent")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("opening the uevent socket: %w", err)
	}
	return &Conn{file: file, raw: raw}, nil
}

// Next waits for the next event of the kernel. ErrLost is not the end: the caller looks for itself what there is and
// goes on. After Close it returns os.ErrClosed.
func (c *Conn) Next() (Event, error) {
	for {
		message, err := c.receive()
		if errors.Is(err, unix.ENOBUFS) {
			return Event{}, ErrLost
		}
		if err != nil {
			return Event{}, fmt.Errorf("reading uevents: %w", err)
		}
		if e, err := Parse(message); err == nil {
			return e, nil
		}
	}
}

// receive returns the next message that the kernel has sent; any process may send to the socket.
func (c *Conn) receive() ([]byte, error) {
	for {
		var n int
		var from unix.Sockaddr
		var err error
		waitErr := c.raw.Read(func(fd uintptr) bool {
			n, from, err = unix.Recvfrom(int(fd), c.buffer[:], 0)
			return err != unix.EAGAIN && err != unix.EINTR
		})
		if waitErr != nil { // internal/poll's ErrFileClosing, which os does not translate here
			return nil, os.ErrClosed
		}
		if err != nil {
			return nil, err
		}
		if sender, ok := from.(*unix.SockaddrNetlink); ok && sender.Pid == 0 {
			return c.buffer[:n], nil
		}
	}
}

// Close ends the socket and a waiting Next.
func (c *Conn) Close() error { return c.file.Close() }
