#!/bin/sh
# A cloud that is a directory: vms/<agent id> holds the create_vm request of a VM that is up, disks/<cid> a disk.
# A file fail-<method> makes that method fail with the file's text; every call is a line of `calls`.
here=$(dirname "$0")
IFS= read -r request
method=${request#*\"method\":\"}
method=${method%%\"*}
rest=${request#*\"arguments\":[}
first=${rest#\"}
first=${first%%\"*}
echo "$method $rest" >>"$here/calls"
reply() { printf '{"result":%s,"error":null,"log":""}\n' "$1"; }
fail() { printf '{"result":null,"error":{"type":"%s","message":"%s","ok_to_retry":false},"log":""}\n' "$1" "$2"; }
if [ -f "$here/fail-$method" ]; then
    fail Bosh::Clouds::CloudError "$(cat "$here/fail-$method")"
    exit
fi
case $method in
info) reply '{"api_version":2,"stemcell_formats":["warden-tar"]}' ;;
create_vm)
    printf '%s' "$request" >"$here/vms/.$first"
    mv "$here/vms/.$first" "$here/vms/$first"
    reply "[\"vm-$first\",{}]"
    ;;
delete_vm)
    if [ -f "$here/vms/${first#vm-}" ]; then
        rm "$here/vms/${first#vm-}"
        reply null
    else
        fail Bosh::Clouds::VMNotFound "no $first"
    fi
    ;;
has_vm) if [ -f "$here/vms/${first#vm-}" ]; then reply true; else reply false; fi ;;
create_disk)
    cid=disk-$(tr -dc a-z0-9 </dev/urandom | head -c 12)
    : >"$here/disks/$cid"
    reply "\"$cid\""
    ;;
delete_disk) rm "$here/disks/$first" && reply null ;;
has_disk) if [ -f "$here/disks/$first" ]; then reply true; else reply false; fi ;;
attach_disk) reply '{"path":"/dev/sdb"}' ;;
set_vm_metadata | set_disk_metadata | detach_disk | reboot_vm) reply null ;;
*) fail Bosh::Clouds::NotImplemented "$method" ;;
esac
