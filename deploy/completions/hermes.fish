# Completion of hermes and of its alias commands for fish.
#   hermes completion fish > ~/.config/fish/completions/hermes.fish, or
#   hermes completion fish | source                    in ~/.config/fish/config.fish

function __hermes_profiles
    command hermes __complete profiles 2>/dev/null
end

function __hermes_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l program hermes
    string match -q '*/hermes' -- $before[1]; and test -x $before[1]; and set program $before[1]
    set -l lines (command $program __complete fish (count $before) -- $before "$current" 2>/dev/null)
    switch "$lines[1]"
        case //files
            __fish_complete_path "$current"
        case //directories
            __fish_complete_directories "$current"
        case '*'
            printf '%s\n' $lines
    end
end

complete -c hermes -e
complete -c hermes -f -a '(__hermes_complete)'
for name in (command hermes __complete aliases 2>/dev/null)
    complete -c $name -e
    complete -c $name -f -a '(__hermes_complete)'
end
