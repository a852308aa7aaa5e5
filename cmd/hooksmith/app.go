package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"time"

	"golang.org/x/term"
)

// app is what a command needs from the outside world. Constructors of commands
// take it; nothing below cmd sees it.
type app struct {
	stdin  io.Reader
	stdout io.Writer // results only
	stderr io.Writer // talk; while bars are drawn use progress, which writes above them

	log      *slog.Logger // to stderr, at the level of --log-level
	level    *slog.LevelVar
	progress *progress

	lookupEnv  func(key string) (string, bool)
	isTerminal func(stream any) bool // stream is one of the three above
}

func newApp(stdin io.Reader, stdout, stderr io.Writer, lookupEnv func(string) (string, bool)) *app {
	a := &app{
		stdin: stdin, stdout: stdout, stderr: stderr,
		level:      new(slog.LevelVar),
		lookupEnv:  lookupEnv,
		isTerminal: isTerminal,
	}
	dumb, _ := lookupEnv("TERM")
	a.progress = newProgress(stderr, hasRoom(stderr) && dumb != "dumb", time.Now)
	a.log = slog.New(slog.NewTextHandler(a.progress, &slog.HandlerOptions{Level: a.level}))
	return a
}

// isTerminal tells whether stream is a file that is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// hasRoom tells whether stream is a terminal that bars can be drawn on: those
// of script and of some CI systems are 0 wide and 0 high.
func hasRoom(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	width, height, err := term.GetSize(int(f.Fd())) // fails where there is no terminal
	return err == nil && width > 0 && height > 0
}

// printJSON writes a result as indented JSON to stdout.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printJSONLine writes a record of a stream: one line of JSON.
func (a *app) printJSONLine(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
