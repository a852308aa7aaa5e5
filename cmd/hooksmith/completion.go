package main

import (
	"github.com/spf13/cobra"
)

func newCompletion(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print the completion script for a shell",
		Long:  `Print a script that makes a shell complete hooksmith's commands, flags and flavors.`,
		Example: `  # bash, for this session (needs the package bash-completion)
  source <(hooksmith completion bash)

  # zsh, for good
  hooksmith completion zsh > "${fpath[1]}/_hooksmith"

  # fish, for good
  hooksmith completion fish > ~/.config/fish/completions/hooksmith.fish`,
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch root := cmd.Root(); args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			case "fish":
				return root.GenFishCompletion(a.stdout, true)
			default:
				return root.GenPowerShellCompletionWithDesc(a.stdout)
			}
		},
	}
	return cmd
}
