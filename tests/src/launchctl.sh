#!/bin/sh
# A scripted `launchctl`: what it keeps of each job is in `jobs/LABEL` beside it, and what a job starts is a real process. `asked` has
# every call, `session` the name of the session, `fail-VERB` what the next calls of a verb end with, one a line.
d=${0%/*}
echo "$*" >>"$d/asked"
fail() { echo "$2" >&2; exit "$1"; }
if [ -s "$d/fail-$1" ]; then
  code=$(head -n 1 "$d/fail-$1"); sed -i 1d "$d/fail-$1"
  [ "$code" = 0 ] || fail "$code" "$1 failed: $code: Input/output error"
fi
job() { label=${1##*/}; j=$d/jobs/$label; }
loaded() { job "$1"; [ "$(cat "$j/domain" 2>/dev/null)" = "${1%/*}" ]; }
alive() { [ -s "$j/pid" ] && kill -0 "$(cat "$j/pid")" 2>/dev/null; }
# Of the property list, as it is written: an element a line.
value() { sed -n "/<key>$1<\/key>/{n;s/.*<string>\(.*\)<\/string>.*/\1/p;}" "$2"; }
is_true() { sed -n "/<key>$1<\/key>/{n;p;}" "$2" | grep -q '<true'; }
words() { sed -n '/<key>ProgramArguments</,/<\/array>/s/.*<string>\(.*\)<\/string>.*/\1/p' "$1"; }
variables() {
  sed -n '/<key>EnvironmentVariables</,/<\/dict>/{s/.*<key>\(.*\)<\/key>.*/\1/p;s/.*<string>\(.*\)<\/string>.*/\1/p;}' "$1" |
    sed 1d | paste -d= - -
}
start() {
  if alive; then return; fi
  file=$(cat "$j/file") log=$(value StandardErrorPath "$(cat "$j/file")")
  [ -n "$log" ] || log=/dev/null
  mkdir -p "${log%/*}"
  rm -f "$j/pid"
  IFS='
'
  {
    env -i "HOME=$HOME" "XDG_RUNTIME_DIR=$XDG_RUNTIME_DIR" "HERMES_MANAGED_DIR=$HERMES_MANAGED_DIR" "XPC_SERVICE_NAME=$label" \
      $(variables "$file") $(words "$file") &
    echo $! >"$j/new" && mv "$j/new" "$j/pid"
    wait $!
    echo $? >"$j/code"
  } </dev/null >>"$log" 2>&1 &
  while [ ! -s "$j/pid" ]; do sleep 0.01; done
}
end() { if alive; then kill "$1" "$(cat "$j/pid")"; fi; while alive; do sleep 0.01; done; }
case $1 in
  managername) cat "$d/session" ;;
  print)
    loaded "$2" || fail 113 "Could not find service in domain"
    printf '%s = {\n\tactive count = 1\n\ttype = LaunchAgent\n' "$2"
    if alive; then printf '\tstate = running\n\tpid = %s\n' "$(cat "$j/pid")"
    else printf '\tstate = not running\n\tlast exit code = %s\n' "$(cat "$j/code" 2>/dev/null || echo '(never exited)')"; fi
    printf '\tsubmitted = {\n\t\tpid = 1\n\t\tstate = running\n\t}\n\truns = 3\n}\n' ;;
  bootstrap)
    job "$(value Label "$3")"
    [ ! -e "$d/disabled/$label" ] || fail 119 "Bootstrap failed: 119: Service is disabled"
    [ ! -e "$j/domain" ] || fail 5 "Bootstrap failed: 5: Input/output error"
    mkdir -p "$j"; rm -f "$j/code"; echo "$2" >"$j/domain"; echo "$3" >"$j/file"
    if is_true RunAtLoad "$3" || is_true KeepAlive "$3"; then start; fi ;;
  bootout)
    loaded "$2" || fail 3 "Boot-out failed: 3: No such process"
    end -TERM; rm "$j/domain" ;;
  enable) rm -f "$d/disabled/${2##*/}" ;;
  disable) mkdir -p "$d/disabled"; : >"$d/disabled/${2##*/}" ;;
  kickstart) loaded "$2" || fail 113 "Could not find service"; start ;;
  kill)
    loaded "$3" || fail 113 "Could not find service"
    if [ "$2" = SIGTERM ]; then end -TERM; fi ;;
  *) fail 64 "Unrecognized subcommand: $1" ;;
esac
