package main

import (
	"errors"
	"io/fs"
	"net"
	"net/url"

	"github.com/spf13/cobra"

	"hooksmith/serve"
	"hooksmith/serve/admin"
)

// clientFlags say which running server is asked.
type clientFlags struct{ server, token, state string }

func (o *clientFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.server, "server", "", "`URL` of the server's admin address (default the one that runs here)")
	f.StringVar(&o.token, "token-file", "", "`FILE` with its token (default the server's own)")
	f.StringVar(&o.state, "state", "", "the server's state `FOLDER`, which says where it listens")
}

// fallbackAdmin is where a server listens that was told nothing else.
const fallbackAdmin = "http://127.0.0.1:8067"

// client finds the server: by flag, by HOOKSMITH_SERVER, by what a running
// server left in its state folder, at its usual address.
func (o *clientFlags) client(a *app) (*admin.Client, error) {
	mark := serve.Mark{Admin: o.server, TokenFile: o.token}
	if mark.Admin == "" {
		mark.Admin, _ = a.lookupEnv("HOOKSMITH_SERVER")
	}
	if mark.TokenFile == "" {
		mark.TokenFile, _ = a.lookupEnv("HOOKSMITH_TOKEN_FILE")
	}
	if mark.Admin == "" {
		mark = o.local(a, mark.TokenFile)
	}
	if u, err := url.Parse(mark.Admin); err != nil || u.Host == "" {
		return nil, usagef("--server %s: want a URL such as %s", mark.Admin, fallbackAdmin)
	}
	c := &admin.Client{URL: mark.Admin}
	if mark.TokenFile == "" {
		return c, nil
	}
	var err error
	c.Token, err = serve.ReadToken(mark.TokenFile)
	return c, withHint(err, "run this as the server's user, or name a copy of the token with --token-file")
}

// local looks into the state folders that a server here may have.
func (o *clientFlags) local(a *app, token string) serve.Mark {
	folders := []string{o.state}
	if o.state == "" {
		folders[0], _ = a.lookupEnv("HOOKSMITH_STATE")
	}
	if folders[0] == "" {
		own, _ := a.defaultState()
		folders = []string{own, installedState}
	}
	for _, dir := range folders {
		mark, err := serve.ReadMark(dir)
		if err != nil || mark.Admin == "" {
			continue
		}
		if token != "" {
			mark.TokenFile = token
		}
		return mark
	}
	return serve.Mark{Admin: fallbackAdmin, TokenFile: token}
}

// unreachable adds what to do when no server answers.
func unreachable(c *admin.Client, err error) error {
	var network net.Error
	if errors.As(err, &network) && !errors.Is(err, fs.ErrNotExist) {
		return withHint(err, "is hooksmith serve running? It is asked at %s; --server names another address", c.URL)
	}
	return err
}
