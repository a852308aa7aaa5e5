package serve

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"

	"hooksmith/serve/admin"
	"hooksmith/serve/hardware"
)

// adminHandler shows the server to people and programs.
func (s *Server) adminHandler() (*admin.Handler, error) {
	title, err := os.Hostname()
	if err != nil {
		title = ""
	}
	b := s.plan.boots
	return admin.New(admin.Config{
		Timeline: s.timeline, Log: s.log, Now: s.plan.opt.Now, Version: s.plan.opt.Version, Title: title,
		Token: s.token, Hosts: adminHosts(title, s.plan.Config.AdminAddress, s.plan.Config.AdminNames),
		Hardware: b.hardware.All, HardwareStatus: b.hardware.Status,
		Leases: s.leases, Preview: b.preview,
		Interfaces: s.interfaces, Services: s.services, Settings: s.settings,
		NotReady: s.notReady, Metrics: s.metrics, Figures: s.figures,
	})
}

// adminHosts are the names that a browser may use for this server.
func adminHosts(hostname, address string, names []string) []string {
	hosts := append([]string{hostname}, names...)
	if short, _, ok := strings.Cut(hostname, "."); ok {
		hosts = append(hosts, short)
	}
	if host, _, err := net.SplitHostPort(address); err == nil && host != "" {
		hosts = append(hosts, host)
	}
	return hosts
}

func (s *Server) leases() (all []admin.Lease) {
	if s.plan.boots.leases == nil {
		return nil
	}
	for _, l := range s.plan.boots.leases.All() {
		row := admin.Lease{IP: l.IP.String(), MAC: l.MAC, Hostname: l.Hostname, State: string(l.State), Expires: l.Expires}
		if l.Reserved {
			row.Detail = "reserved by the hardware data"
		}
		all = append(all, row)
	}
	return all
}

// interfaces looks at the interfaces as they are now.
func (s *Server) interfaces() (all []admin.Interface) {
	for _, l := range s.plan.boots.links {
		row := admin.Interface{Name: l.name, Addresses: []string{}}
		in, err := net.InterfaceByName(l.name)
		if err != nil {
			row.Error = "the interface is gone: no machine is answered there until it is back"
			all = append(all, row)
			continue
		}
		row.Up = in.Flags&net.FlagUp != 0 && in.Flags&net.FlagRunning != 0
		if addrs, err := in.Addrs(); err == nil {
			for _, a := range addrs {
				row.Addresses = append(row.Addresses, a.String())
			}
		}
		given := s.plan.boots.address
		switch _, some := linkOf(*in, ""); {
		case !row.Up:
			row.Error = fmt.Sprintf("down or without a cable: ip link set %s up", l.name)
		case given.IsValid() && !l.has(given):
			row.Error = fmt.Sprintf("its address %s is gone, where machines are told to load from: give it back, or change --address", given)
		case !some:
			row.Error = "it has no IPv4 address: no machine is answered there until it has one"
		}
		all = append(all, row)
	}
	return all
}

func (s *Server) services() (all []admin.Service) {
	for _, p := range s.parts {
		all = append(all, admin.Service{Name: p.name, Address: p.address, Detail: p.detail})
	}
	return all
}

// settings are the configuration in force. None of it is a secret: the token
// is in a file of its own.
func (s *Server) settings() (all []admin.Setting) {
	for _, each := range s.plan.Config.Settings() {
		value := fmt.Sprint(each.Get())
		if list, ok := each.Get().([]string); ok {
			value = strings.Join(list, " ")
		}
		if value != "" && value != "0" {
			all = append(all, admin.Setting{Name: each.Name, Value: value})
		}
	}
	return all
}

// notReady lists what keeps machines from booting.
func (s *Server) notReady() (reasons []string) {
	add := func(format string, args ...any) { reasons = append(reasons, fmt.Sprintf(format, args...)) }
	for _, in := range s.interfaces() {
		if in.Error != "" {
			add("interface %s: %s", in.Name, in.Error)
		}
	}
	if st := s.plan.boots.hardware.Status(); !st.Healthy() {
		add("hardware data: %s", unhealthy(st))
	}
	if err := s.plan.boots.problem(); err != nil {
		add("hardware data and templates: %v", err)
	}
	if st := s.web.ArtifactStatus(); st.Error != "" {
		add("artifacts: %s", st.Error)
	} else if st.Refused != "" {
		add("artifacts: the new files are refused, those of before stay in use: %s", st.Refused)
	}
	if disk := s.timeline.Status().Disk; disk.Error != "" {
		add("timeline: %s", disk.Error)
	}
	if leases := s.plan.boots.leases; leases != nil {
		if err := leases.Stats().LastError; err != "" {
			add("leases: %s", err)
		}
	}
	return reasons
}

// unhealthy is what is wrong with the hardware files, in one line.
func unhealthy(st *hardware.Status) string {
	if st.Error != "" {
		return st.Error
	}
	for _, f := range st.Files {
		if f.Error != "" {
			first, _, _ := strings.Cut(f.Error, "\n")
			return first
		}
	}
	return "not read"
}

// quieter passes warnings and errors only.
func quieter(log *slog.Logger) *slog.Logger { return slog.New(warnings{log.Handler()}) }

type warnings struct{ slog.Handler }

// Enabled implements slog.Handler.
func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelError && w.Handler.Enabled(ctx, level)
}

func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}
func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }
