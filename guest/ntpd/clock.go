package ntpd

import (
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// clock is what can be done to a clock. Tests have one of their own: there is no namespace for the machine's.
type clock struct {
	now    func() time.Time
	query  func() time.Time // for ntp.QueryOptions.GetSystemTime; nil takes the kernel's packet timestamps
	step   func(by time.Duration) error
	slew   func(by, poll, within time.Duration) error
	setRTC func() error
	floor  time.Time // the clock cannot be before it
}

// kernelClock is the machine's. Its floor is the date of this program: that of the build, as the initramfs has it.
func kernelClock() clock {
	c := clock{now: time.Now, step: stepKernel, slew: slewKernel, setRTC: setRTC}
	if info, err := os.Stat("/proc/self/exe"); err == nil {
		c.floor = info.ModTime()
	}
	return c
}

// What is done about an offset.
const (
	stepFrom = 500 * time.Millisecond // above it the kernel cannot slew either (MAXPHASE)
	goodFrom = 10 * time.Millisecond  // below it the clock may be looked at less often,
	badFrom  = 50 * time.Millisecond  // above it more often
)

// set makes the clock go by the answer and returns when to ask again, wait being how long it was asked for last. The
// first answer is followed wherever it leads; a later one that is far off must be said twice.
func (d *daemon) set(a answer, wait time.Duration) time.Duration {
	first := !d.synced
	far := a.offset.Abs() > stepFrom
	switch {
	case far && !first && !d.suspect:
		d.suspect = true
		d.log.Printf("%s says that the clock is off by %s; asking again before it is believed", a.server, a.offset)
		return minPoll
	case far:
		if err := d.clock.step(a.offset); err != nil {
			d.tell(fmt.Errorf("stepping the clock by %s: %w", a.offset, err))
			return minPoll
		}
		d.boot.Printf("clock stepped by %s to %s (time server %s)", a.offset.Round(time.Millisecond),
			d.clock.now().UTC().Format(time.RFC3339), a.server)
		if err := d.clock.setRTC(); err != nil {
			d.log.Print(err)
		}
	default:
		if err := d.clock.slew(a.offset, max(wait, minPoll), a.within); err != nil {
			d.tell(fmt.Errorf("slewing the clock by %s: %w", a.offset, err))
			return minPoll
		}
		if first {
			d.log.Printf("the clock agrees with %s (off by %s)", a.server, a.offset.Round(time.Microsecond))
		}
	}
	d.synced, d.suspect, d.complain = true, false, time.Time{}
	switch {
	case first || a.offset.Abs() > badFrom:
		return minPoll
	case a.offset.Abs() < goodFrom:
		return min(max(2*wait, minPoll), maxPoll)
	}
	return wait
}

// stepKernel adds to the clock in one call, so that no time passes unseen between reading and setting.
func stepKernel(by time.Duration) error {
	seconds, nanos := int64(by/time.Second), int64(by%time.Second)
	if nanos < 0 {
		seconds, nanos = seconds-1, nanos+int64(time.Second)
	}
	_, err := unix.Adjtimex(&unix.Timex{
		Modes: unix.ADJ_SETOFFSET | unix.ADJ_NANO,
		Time:  unix.Timeval{Sec: seconds, Usec: nanos},
	})
	return withCapability(err)
}

// slewKernel hands the offset to the kernel's phase-locked loop, which takes it away by and by and learns how fast the
// clock runs. That the clock is no longer marked as not synchronised also makes the kernel keep the hardware clock
// right, every 11 minutes.
func slewKernel(by, poll, within time.Duration) error {
	_, err := unix.Adjtimex(&unix.Timex{
		Modes: unix.ADJ_OFFSET | unix.ADJ_STATUS | unix.ADJ_TIMECONST | unix.ADJ_MAXERROR | unix.ADJ_ESTERROR |
			unix.ADJ_NANO,
		Status:   unix.STA_PLL,
		Offset:   int64(by),
		Constant: timeConstant(poll),
		Maxerror: within.Microseconds(),
		Esterror: within.Microseconds(),
	})
	return withCapability(err)
}

// timeConstant is that of the loop for a poll interval: its logarithm less 4, as the kernel adds 4 (SHIFT_PLL).
func timeConstant(poll time.Duration) int64 {
	return int64(bits.Len64(uint64(poll/time.Second))) - 1 - 4
}

func withCapability(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("the service needs CAP_SYS_TIME: %w", err)
	}
	return err
}

// setRTC sets the hardware clock, in UTC, so that the next boot begins with the right time. A machine without one, or
// whose driver is not loaded, is no error.
func setRTC() error {
	f, err := os.OpenFile("/dev/rtc0", os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("setting the hardware clock: %w", err)
	}
	defer f.Close()
	if err := unix.IoctlSetRTCTime(int(f.Fd()), rtcTime(time.Now())); err != nil {
		return fmt.Errorf("setting the hardware clock: %w", err)
	}
	return nil
}

// rtcTime is t in the fields of the hardware clock: years since 1900, months from 0.
func rtcTime(t time.Time) *unix.RTCTime {
	t = t.UTC()
	return &unix.RTCTime{
		Sec: int32(t.Second()), Min: int32(t.Minute()), Hour: int32(t.Hour()),
		Mday: int32(t.Day()), Mon: int32(t.Month()) - 1, Year: int32(t.Year()) - 1900,
		Wday: int32(t.Weekday()), Yday: int32(t.YearDay()) - 1,
	}
}
