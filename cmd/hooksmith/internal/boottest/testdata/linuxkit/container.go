//go:build linux

package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// container says what it finds around it, line by line, and what the file
// /standin of its image asks for:
//
//	name NAME      call it NAME
//	read PATH      print a file
//	stat PATH      print type, mode and owner
//	write PATH     try to write a file
//	stay           wait for SIGTERM, unless an argument is -1
func container() {
	script, err := os.ReadFile("/standin")
	if err != nil {
		say("?: %v", err)
		os.Exit(1)
	}
	name, stay := "?", false
	for line := range strings.Lines(string(script)) {
		verb, path, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "name":
			name = path
			facts(name)
		case "read":
			content, err := os.ReadFile(path)
			say("%s: read %s: %q %v", name, path, content, reason(err))
		case "stat":
			say("%s: stat %s: %s", name, path, describe(path))
		case "write":
			say("%s: write %s: %v", name, path, reason(os.WriteFile(path, []byte(name), 0o644)))
		case "stay":
			stay = !slices.Contains(os.Args, "-1")
		}
	}
	say("%s: done", name)
	if stay {
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		<-stop
	}
}

func facts(name string) {
	host, _ := os.Hostname()
	cwd, _ := os.Getwd()
	groups, _ := os.Getgroups()
	say("%s: args %q", name, os.Args)
	say("%s: env %q", name, os.Environ())
	say("%s: host %s cwd %s uid %d gid %d groups %v first %v", name, host, cwd, os.Getuid(), os.Getgid(), groups, os.Getpid() == 1)
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if field, value, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(field, "Cap") {
			say("%s: %s %s", name, field, strings.TrimSpace(value))
		}
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		say("%s: nofile %d %d", name, limit.Cur, limit.Max)
	}
	links, _ := filepath.Glob("/sys/class/net/*")
	say("%s: links %d", name, len(links))
}

// reason is an error without the path, which is said already.
func reason(err error) any {
	if e, ok := err.(*os.PathError); ok {
		return e.Err
	}
	if err == nil {
		return "ok"
	}
	return err
}

func describe(path string) string {
	info, err := os.Lstat(path)
	if err != nil {
		return reason(err).(error).Error()
	}
	s := info.Sys().(*syscall.Stat_t)
	text := info.Mode().String()
	if target, err := os.Readlink(path); err == nil {
		text += " -> " + target
	}
	return strings.TrimSpace(text + " " + owner(s))
}
