# Completion of hermes and of its alias commands for bash.
#   eval "$(hermes completion bash)"                                       in ~/.bashrc, or
#   hermes completion bash > ~/.local/share/bash-completion/completions/hermes

_hermes_profiles() {
    command hermes __complete profiles 2>/dev/null
}

_hermes_completion() {
    local line program=hermes
    COMPREPLY=()
    # Called by its path, it is asked itself.
    case ${COMP_WORDS[0]} in
        */hermes) [[ -x ${COMP_WORDS[0]} ]] && program=${COMP_WORDS[0]} ;;
    esac
    while IFS= read -r line; do
        case $line in
            //files|//directories)
                # Readline completes paths itself, quoting and all; it can do so only while it is completing.
                compopt -o default 2>/dev/null && return
                local kind=-f current=${COMP_WORDS[COMP_CWORD]}
                [[ $line == //directories ]] && kind=-d
                while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen $kind -- "$current")
                return ;;
            *) COMPREPLY+=("$line") ;;
        esac
    done < <(command "$program" __complete bash "$COMP_CWORD" -- "${COMP_WORDS[@]}" 2>/dev/null)
}

complete -F _hermes_completion hermes
while IFS= read -r _hermes_alias; do
    [[ -n $_hermes_alias ]] && complete -F _hermes_completion "$_hermes_alias"
done < <(command hermes __complete aliases 2>/dev/null)
unset -v _hermes_alias
