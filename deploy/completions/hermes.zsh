#compdef hermes
# Completion of hermes and of its alias commands for zsh.
#   eval "$(hermes completion zsh)"                    in ~/.zshrc, or
#   hermes completion zsh > ~/.zfunc/_hermes           with fpath=(~/.zfunc $fpath) before compinit

_hermes_profiles() {
    command hermes __complete profiles 2>/dev/null
}

_hermes() {
    local program=hermes line value
    local -a lines values shown
    [[ ${words[1]} == */hermes && -x ${words[1]} ]] && program=${words[1]}
    lines=("${(@f)$(command "$program" __complete zsh $((CURRENT - 1)) -- "${(@Q)words[1,CURRENT]}" 2>/dev/null)}")
    case ${lines[1]} in
        //files) _files; return ;;
        //directories) _files -/; return ;;
        '') return 1 ;;
    esac
    for line in "${lines[@]}"; do
        value=${line%%$'\t'*}
        values+=("$value")
        if [[ $line == *$'\t'* ]]; then
            shown+=("${(r:24:)value}  ${line#*$'\t'}")
        else
            shown+=("$value")
        fi
    done
    compadd -l -d shown -a values
}

(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
() {
    local name
    for name in ${(f)"$(command hermes __complete aliases 2>/dev/null)"}; do
        compdef _hermes "$name"
    done
}
# Loaded by zsh itself in the middle of a completion.
[[ ${funcstack[1]} == _hermes ]] && _hermes "$@"
compdef _hermes hermes
