# bash completion for coppice
_coppice_names() {      # workspaces and named snapshots of the store of the command line
    local store=() i
    for ((i = 1; i < COMP_CWORD; i++)); do
        [[ ${COMP_WORDS[i]} == --store ]] && store=(--store "${COMP_WORDS[i + 1]}")
    done
    coppice "${store[@]}" list 2>/dev/null | awk -v what="$1" '
        $1 == "WORKSPACE" { part = 1; next } $1 == "SNAPSHOT" { part = 2; next }
        part == 1 && NF && what != "snapshots" { print $1 }
        part == 2 && NF && what != "workspaces" { print $1; if ($3 != "-") print $2 "@" $3 }'
}

_coppice_execs() {      # executions of the sandbox $1
    coppice ps "$1" --all 2>/dev/null | awk 'NR > 1 { print $1 }'
}

_coppice_services() {   # services of the sandbox $1
    coppice service "$1" 2>/dev/null | awk '/^[a-z0-9]/ { print $1 }'
}

_coppice() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb= i
    local verbs="init create import mount umount snapshot fork list show log diff restore merge rm rename label gc stats fsck scrub export run exec ps logs kill attach shell code watch service port rules secret egress-log cp freeze sleep wake stop usage up down status doctor"
    COMP_WORDBREAKS=${COMP_WORDBREAKS//@/}
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            --store) ((i++)) ;;
            -*) ;;
            *) verb=${COMP_WORDS[i]}; break ;;
        esac
    done
    case $prev in
        --store) COMPREPLY=($(compgen -d -- "$cur")); return ;;
        --since) [[ $verb != export ]] && return; COMPREPLY=($(compgen -W "$(_coppice_names snapshots)" -- "$cur")); return ;;
        --to) COMPREPLY=($(compgen -W "$(_coppice_names snapshots)" -- "$cur")); return ;;
        --from | --base) COMPREPLY=($(compgen -W "$(_coppice_names)" -- "$cur")); return ;;
        --into) COMPREPLY=($(compgen -W "$(_coppice_names workspaces)" -- "$cur")); return ;;
        --kind) COMPREPLY=($(compgen -W "root bare" -- "$cur")); return ;;
        --restart) COMPREPLY=($(compgen -W "on-failure always no" -- "$cur")); return ;;
        -l | --language) COMPREPLY=($(compgen -W "python javascript typescript" -- "$cur")); return ;;
        -u | --user) COMPREPLY=($(compgen -W "user root" -- "$cur")); return ;;
        -s | --signal) COMPREPLY=($(compgen -A signal -- "$cur")); return ;;
        --cwd | --env | -e | --timeout | --listen | --name | --session) return ;;
        --auto) COMPREPLY=($(compgen -W "every=10m,keep-last=12,hourly=24,daily=7,weekly=4 off" -- "$cur")); return ;;
        --types) COMPREPLY=($(compgen -W "create modify close_write delete move attrib" -- "$cur")); return ;;
        --cursor | --size | --keep | --include | --exclude | --take-ours | --take-theirs | --max-restarts | --host | --message) return ;;
        --format) COMPREPLY=($(compgen -W "archive tar" -- "$cur")); return ;;
        -o) COMPREPLY=($(compgen -W "ro rw nosuid nodev noexec exec dev suid transport=auto transport=classic transport=uring uid_base= snapdir nosnapdir" -- "$cur")); return ;;
        -m | -n | --at | --label | --quota | --inodes | --remove) return ;;
    esac
    if [[ -z $verb ]]; then
        COMPREPLY=($(compgen -W "$verbs help --store --json --help --version" -- "$cur"))
        return
    fi
    if [[ $cur == -* ]]; then
        local options=
        case $verb in
            create) options="--from --bare --quota --inodes --label" ;;
            import) options="--at --kind --message --cross-mounts" ;;
            list) options="--all" ;;
            run) options="--rm --from --name --cwd --env --user --timeout -i -t" ;;
            exec) options="--cwd --env --user --timeout -i -t --detach" ;;
            ps) options="--all" ;;
            logs) options="--follow --since" ;;
            kill) options="--signal" ;;
            service) options="--port --restart --max-restarts --cwd --env --user --follow --since" ;;
            watch) options="--recursive --no-recursive --include --exclude --types --user --journal --cursor --since --all --once --no-follow --size --keep --off" ;;
            code) options="--language --context --eval --new --timeout --output" ;;
            shell) options="--user --session" ;;
            port) options="--rm" ;;
            rules) options="--inherit" ;;
            secret) options="--host --plain-http" ;;
            egress-log) options="--follow --since" ;;
            cp) options="--user" ;;
            up) options="--listen --listen-any --no-tcp --store-only --secret-key --upstream-roots --resolver --domain" ;;
            mount) options="-o" ;;
            umount) options="--lazy" ;;
            snapshot) options="-m --message --label --auto" ;;
            fork) options="-n" ;;
            log) options="--graph" ;;
            diff) options="--stat --name-status --patch --times -z" ;;
            restore) options="--to --undo" ;;
            merge) options="--into --base --dry-run --ours --theirs --take-ours --take-theirs --markers --message" ;;
            rm) options="--with-snapshots --force" ;;
            label) options="--remove" ;;
            gc) options="--dry-run --pack" ;;
            scrub) options="--repair" ;;
            export) options="--since --format" ;;
        esac
        COMPREPLY=($(compgen -W "$options --json --store --help" -- "$cur"))
        return
    fi
    local n=$((COMP_CWORD - i))
    case $verb in
        snapshot | restore) [[ $n == 1 ]] && COMPREPLY=($(compgen -W "$(_coppice_names workspaces)" -- "$cur")) ;;
        fork | show | log | rename | label) [[ $n == 1 ]] && COMPREPLY=($(compgen -W "$(_coppice_names)" -- "$cur")) ;;
        mount) if [[ $n == 1 ]]; then COMPREPLY=($(compgen -W "$(_coppice_names)" -- "$cur")); else COMPREPLY=($(compgen -d -- "$cur")); fi ;;
        umount) COMPREPLY=($(compgen -d -W "$(_coppice_names)" -- "$cur")) ;;
        diff | rm | merge) COMPREPLY=($(compgen -W "$(_coppice_names)" -- "$cur")) ;;
        export) if [[ $n == 1 ]]; then COMPREPLY=($(compgen -W "$(_coppice_names snapshots)" -- "$cur")); else COMPREPLY=($(compgen -f -- "$cur")); fi ;;
        import) [[ $n == 1 ]] && COMPREPLY=($(compgen -f -- "$cur")) ;;
        code) if [[ $n == 1 ]]; then COMPREPLY=($(compgen -W "$(_coppice_names workspaces)" -- "$cur")); else COMPREPLY=($(compgen -f -- "$cur")); fi ;;
        rules) if [[ $n == 1 ]]; then COMPREPLY=($(compgen -W "$(_coppice_names workspaces)" -- "$cur"))
               elif [[ $n == 2 ]]; then COMPREPLY=($(compgen -W "get set allow deny rm default" -- "$cur"))
               elif [[ ${COMP_WORDS[i + 2]} == set ]]; then COMPREPLY=($(compgen -f -- "$cur")); fi ;;
        service) if [[ $n == 1 ]]; then COMPREPLY=($(compgen -W "$(_coppice_names workspaces)" -- "$cur"))
                 elif [[ $n == 2 ]]; then COMPREPLY=($(compgen -W "list add rm start stop restart logs" -- "$cur"))
                 elif [[ $n == 3 && ${COMP_WORDS[i + 2]} != add ]]; then COMPREPLY=($(compgen -W "$(_coppice_services "${COMP_WORDS[i + 1]}")" -- "$cur")); fi ;;
        secret) [[ $n == 1 ]] && COMPREPLY=($(compgen -W "set list rm" -- "$cur")) ;;
        egress-log | watch | exec | ps | shell | port | freeze | sleep | wake | stop | usage) [[ $n == 1 ]] && COMPREPLY=($(compgen -W "$(_coppice_names workspaces)" -- "$cur")) ;;
        logs | kill | attach)
            if [[ $n == 1 ]]; then COMPREPLY=($(compgen -W "$(_coppice_names workspaces)" -- "$cur"))
            else COMPREPLY=($(compgen -W "$(_coppice_execs "${COMP_WORDS[i + 1]}")" -- "$cur")); fi ;;
        cp) COMPREPLY=($(compgen -f -- "$cur") $(compgen -W "$(_coppice_names workspaces)" -S : -- "$cur")) ;;
        help) COMPREPLY=($(compgen -W "$verbs" -- "$cur")) ;;
    esac
}
complete -o filenames -F _coppice coppice
