package service

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"hooksmith/guest/bootlog"
	"hooksmith/guest/reaper"
)

// RestartAnnotation is the key in config.json that says when a service is started again.
const RestartAnnotation = "hooksmith.restart"

// Verb is what can be done to a service.
type Verb string

// The verbs.
const (
	Start   Verb = "start"
	Stop    Verb = "stop"
	Restart Verb = "restart"
)

// command is a verb on its way to the goroutine of a service.
type command struct {
	verb Verb
	done chan error // buffered: the answer is given whether it is awaited or not
}

// unit is a service.
type unit struct {
	*container
	commands chan command
	backoff  Backoff
	tried    chan struct{} // closed when it has been started for the first time, or could not be
	begun    bool          // tried is closed
	// answer is the command to answer once the next start has succeeded or failed.
	answer *command
}

// do hands a command to the service and waits for its answer.
func (u *unit) do(ctx context.Context, verb Verb) error {
	c := command{verb, make(chan error, 1)}
	select {
	case u.commands <- c:
	case <-ctx.Done():
		return fmt.Errorf("%s %s: %w", verb, u.info.Name, ctx.Err())
	}
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%s %s: %w", verb, u.info.Name, ctx.Err())
	}
}

// run keeps the service running until ctx ends.
func (u *unit) run(ctx context.Context) {
	for ctx.Err() == nil {
		begin := time.Now()
		life := u.live(ctx)
		switch {
		case ctx.Err() != nil:
			u.options.Log.Printf("service %s stopped", u.info.Name)
		case life.asked != nil && life.asked.verb == Restart:
			u.answer = life.asked
			u.restarted()
		case life.asked != nil:
			u.set(Stopped, "")
			u.options.Log.Printf("service %s stopped", u.info.Name)
			life.asked.done <- nil
			u.pause(ctx, nil)
		default:
			u.ended(ctx, life, time.Since(begin))
		}
	}
	u.set(Stopped, "")
	u.reply(ctx.Err())
}

// life is how one run of a service came to its end.
type life struct {
	status unix.WaitStatus
	err    error    // it could not be started, or nobody knows how it ended
	asked  *command // it was told to
}

// live is one run of the service. It ends by itself, or because it was asked to, or with ctx.
func (u *unit) live(ctx context.Context) life {
	u.set(Starting, "")
	p, err := u.start(ctx)
	if err == nil {
		defer p.close()
		u.options.Log.Printf("service %s started (pid %d)", u.info.Name, p.pid)
	}
	u.reply(err)
	if err != nil {
		return life{err: err}
	}

	var l life
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.status, l.err = p.wait(context.WithoutCancel(ctx))
	}()
	asked := u.watch(ctx, ended)
	if asked != nil || ctx.Err() != nil {
		u.set(Stopping, "")
		p.stop(context.WithoutCancel(ctx), u.options.Grace)
	}
	<-ended
	u.clean()
	l.asked = asked
	return l
}

// watch waits until the service has ended, is to end, or ctx ends. To start what runs is done already.
func (u *unit) watch(ctx context.Context, ended <-chan struct{}) *command {
	for {
		select {
		case <-ended:
			return nil
		case <-ctx.Done():
			return nil
		case c := <-u.commands:
			if c.verb != Start {
				return &c
			}
			c.done <- nil
		}
	}
}

// ended decides what happens after a life that ended by itself.
func (u *unit) ended(ctx context.Context, l life, ran time.Duration) {
	why := reaper.Describe(l.status)
	verdict := "exited (" + why + ")"
	if l.err != nil {
		why = l.err.Error()
		verdict = "failed: " + why
	}
	if u.out.log != nil {
		fmt.Fprintf(u.out.log, "[%7.3f] %s%s after %v\n", bootlog.Uptime().Seconds(), bootlog.Prefix, verdict, ran.Round(time.Millisecond))
	}
	name, policy := u.info.Name, u.bundle.Config.Annotations[RestartAnnotation]
	switch {
	case l.err == nil && l.status == 0 && policy != "always":
		u.set(Finished, why)
		u.options.Log.Printf("service %s finished (%s)", name, why)
		u.pause(ctx, nil)
	case policy == "no":
		u.set(Failed, why)
		u.options.Log.Printf("service %s %s; it is not restarted", name, verdict)
		u.pause(ctx, nil)
	default:
		delay := u.backoff.Next(ran)
		u.set(Waiting, why)
		u.options.Log.Printf("service %s %s; restarting in %v", name, verdict, delay)
		u.pause(ctx, time.After(delay))
		u.restarted()
	}
}

// pause waits for a command that starts the service, for the end of the delay (nil: none), or for that of ctx.
func (u *unit) pause(ctx context.Context, delay <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-delay:
			return
		case c := <-u.commands:
			if c.verb != Stop {
				u.answer = &c
				return
			}
			u.set(Stopped, "")
			delay = nil
			c.done <- nil
		}
	}
}

// reply answers the command that asked for the start which has just been tried.
func (u *unit) reply(err error) {
	if !u.begun {
		u.begun = true
		close(u.tried)
	}
	if u.answer != nil {
		u.answer.done <- err
		u.answer = nil
	}
}

func (u *unit) restarted() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.info.Restarts++
}
