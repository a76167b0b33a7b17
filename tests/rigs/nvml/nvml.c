/* libnvidia-ml.so.1 for tests: NVML as documented, over a machine that a table describes.
 *
 * The table (TRITIUM_NVML_TABLE) is written by rig.py from the same machine files as the emulated probe.
 * Every getter reads that one model, so that no two of them can contradict each other. Signatures, structs
 * and codes: https://docs.nvidia.com/deploy/nvml-api/ (queries: group__nvmlDeviceQueries.html, MIG:
 * group__nvmlMultiInstanceGPU.html, links: group__NvLink.html, fields: group__nvmlFieldValueQueries.html, codes:
 * group__nvmlDeviceEnumvs.html). What a getter does beyond handing out a value of the model stands above it, as the
 * call's own page there says it; in quotes where the words matter.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { SUCCESS, UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND = 6, INSUFFICIENT_SIZE,
       LOST = 15, VERSION_MISMATCH = 25, UNKNOWN = 999 };
enum { CARDS = 16, INSTANCES = 8, LINKS = 18, PROCESSES = 256, FAULTS = 64, TEXT = 128 };

typedef struct { char call[TEXT]; int code; } Fault;
typedef struct {
    int part, slot, gi, ci;
    char uuid[TEXT], name[TEXT];
    long long mib;
    unsigned pids[PROCESSES]; int n_pids;
    struct Card *card;
} Instance;
typedef struct { char bus[TEXT]; int present, to_switch; } NvLink;
typedef struct Card {
    int part, index, major, minor, numa, mig, mig_pending, mig_max, recovery, celsius, persistence, vgpu, old;
    char uuid[TEXT], bus[TEXT], name[TEXT];
    long long mib, used_mib, ecc, lost_after, calls;
    unsigned long long cpus[16];
    int remapped[4], retirement;
    Instance instances[INSTANCES]; int n_instances;
    NvLink links[LINKS]; int n_links;
    unsigned pids[PROCESSES]; int n_pids;
    Fault faults[FAULTS]; int n_faults;
    int ancestor[CARDS], p2p[CARDS];
} Card;

static struct {
    int init, n_cards, cuda, protected_struct, ready, pid;
    long long vanish_after, counted;
    char driver[TEXT], nvml[TEXT], hang[FAULTS][TEXT];
    int n_hang, n_faults, order[CARDS], reorder;
    Fault faults[FAULTS];
    Card cards[CARDS];
} M;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void words(char *to, const char *from) { snprintf(to, TEXT, "%s", from); }
static int room(int at, int size) {
    if (at < 0 || at >= size) { fprintf(stderr, "nvml rig: the table holds too much\n"); abort(); }
    return at;
}

static void card_line(Card *c, const char *key, char *rest) {
    if (!strcmp(key, "uuid")) words(c->uuid, rest);
    else if (!strcmp(key, "bus")) words(c->bus, rest);
    else if (!strcmp(key, "name")) words(c->name, rest);
    else if (!strcmp(key, "memory")) sscanf(rest, "%lld %lld", &c->mib, &c->used_mib);
    else if (!strcmp(key, "capability")) sscanf(rest, "%d %d", &c->major, &c->minor);
    else if (!strcmp(key, "numa")) c->numa = atoi(rest);
    else if (!strcmp(key, "cpus")) for (int i = 0; i < 16; i++) c->cpus[i] = strtoull(rest, &rest, 16);
    else if (!strcmp(key, "mig")) sscanf(rest, "%d %d %d", &c->mig, &c->mig_pending, &c->mig_max);
    else if (!strcmp(key, "ecc")) c->ecc = atoll(rest);
    else if (!strcmp(key, "remapped"))
        sscanf(rest, "%d %d %d %d", c->remapped, c->remapped + 1, c->remapped + 2, c->remapped + 3);
    else if (!strcmp(key, "retirement")) c->retirement = atoi(rest);
    else if (!strcmp(key, "recovery")) c->recovery = atoi(rest);
    else if (!strcmp(key, "celsius")) c->celsius = atoi(rest);
    else if (!strcmp(key, "persistence")) c->persistence = atoi(rest);
    else if (!strcmp(key, "vgpu")) c->vgpu = atoi(rest);
    else if (!strcmp(key, "old")) c->old = atoi(rest);
    else if (!strcmp(key, "lost_after")) c->lost_after = atoll(rest);
    else if (!strcmp(key, "pid")) c->pids[room(c->n_pids++, PROCESSES)] = strtoul(rest, NULL, 10);
    else if (!strcmp(key, "fault")) {
        Fault *f = &c->faults[room(c->n_faults++, FAULTS)];
        sscanf(rest, "%127s %d", f->call, &f->code);
    } else if (!strcmp(key, "link")) {
        NvLink *l = &c->links[room(atoi(rest), LINKS)];
        sscanf(rest, "%*d %127s %d", l->bus, &l->to_switch);
        l->present = 1;
        c->n_links++;
    } else if (!strcmp(key, "pair")) {
        int other, level, linked;
        sscanf(rest, "%d %d %d", &other, &level, &linked);
        c->ancestor[other] = level;
        c->p2p[other] = linked;
    } else if (!strcmp(key, "instance")) {
        Instance *p = &c->instances[room(c->n_instances++, INSTANCES)];
        int used = 0;
        p->part = 1;
        p->card = c;
        sscanf(rest, "%d %d %d %lld %127s %n", &p->slot, &p->gi, &p->ci, &p->mib, p->uuid, &used);
        words(p->name, rest + used);
    } else if (!strcmp(key, "instance_pid")) { /* of the instance above it; the card's list has it too */
        Instance *p = &c->instances[c->n_instances - 1];
        p->pids[room(p->n_pids++, PROCESSES)] = c->pids[room(c->n_pids++, PROCESSES)] = strtoul(rest, NULL, 10);
    } else { fprintf(stderr, "nvml rig: unknown key %s\n", key); abort(); }
}

static void machine_line(const char *key, char *rest) {
    if (!strcmp(key, "init")) M.init = atoi(rest);
    else if (!strcmp(key, "cards")) M.n_cards = atoi(rest);
    else if (!strcmp(key, "driver")) words(M.driver, rest);
    else if (!strcmp(key, "nvml")) words(M.nvml, rest);
    else if (!strcmp(key, "cuda")) M.cuda = atoi(rest);
    else if (!strcmp(key, "protected")) M.protected_struct = atoi(rest);
    else if (!strcmp(key, "vanish_after")) M.vanish_after = atoll(rest);
    else if (!strcmp(key, "reorder")) M.reorder = atoi(rest);
    else if (!strcmp(key, "hang")) words(M.hang[M.n_hang++], rest);
    else if (!strcmp(key, "order")) for (int i = 0; i < M.n_cards; i++) M.order[i] = strtol(rest, &rest, 10);
    else if (!strcmp(key, "fault")) {
        Fault *f = &M.faults[M.n_faults++];
        sscanf(rest, "%127s %d", f->call, &f->code);
    } else { fprintf(stderr, "nvml rig: unknown key %s\n", key); abort(); }
}

static void load(void) {
    const char *path = getenv("TRITIUM_NVML_TABLE");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[4096], key[TEXT];
    int at, used;
    if (!file) { fprintf(stderr, "nvml rig: TRITIUM_NVML_TABLE names no file\n"); abort(); }
    for (int i = 0; i < CARDS; i++) M.cards[i].index = i, M.order[i] = i;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "%d %127s %n", &at, key, &used) < 2) abort();
        if (at < 0) machine_line(key, line + used);
        else card_line(&M.cards[room(at, CARDS)], key, line + used);
    }
    fclose(file);
}

static int fault_in(const Fault *faults, int n, const char *call) {
    for (int i = 0; i < n; i++) if (!strcmp(faults[i].call, call)) return faults[i].code;
    return SUCCESS;
}

static Card *card_of(Card *device) { return device->part ? ((Instance *)device)->card : device; }

/* What every call does first: hang, refuse, or find its card gone. An instance is lost with its card ("the
 * GPU has fallen off the bus", nvmlReturn_t) and has none of the other faults that are written of the card. */
static int enter(const char *call, Card *device) {
    int code;
    pthread_once(&once, load);
    for (int i = 0; i < M.n_hang; i++) if (!strcmp(M.hang[i], call)) for (;;) pause();
    if (!M.ready) return UNINITIALIZED;
    if (device && card_of(device)->calls++ >= card_of(device)->lost_after) return LOST;
    if (device && device->part) return SUCCESS;
    if (device && (code = fault_in(device->faults, device->n_faults, call))) return code;
    return fault_in(M.faults, M.n_faults, call);
}
/* Machine files name calls without the version that a driver's library adds. */
#define ENTER(call, device) do { int code = enter(call, device); if (code) return code; } while (0)
#define WHOLE(call, device) do { ENTER(call, device); if ((device)->part) return INVALID_ARGUMENT; } while (0)

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    pthread_once(&once, load);
    if (M.ready && M.pid != getpid()) return UNKNOWN; /* the driver's state does not survive a fork */
    M.pid = getpid();
    M.ready = 1;
    ENTER("nvmlInit", NULL);
    M.ready = !M.init;
    return M.init;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { ENTER("nvmlShutdown", NULL); return SUCCESS; }
const char *nvmlErrorString(int code) {
    static char text[32];
    snprintf(text, sizeof text, "error %d", code);
    return text;
}
static int text_out(char *to, unsigned size, const char *from) {
    if (strlen(from) >= size) return INSUFFICIENT_SIZE;
    strcpy(to, from);
    return SUCCESS;
}
int nvmlSystemGetDriverVersion(char *to, unsigned size) {
    ENTER("nvmlSystemGetDriverVersion", NULL);
    return text_out(to, size, M.driver);
}
int nvmlSystemGetNVMLVersion(char *to, unsigned size) {
    ENTER("nvmlSystemGetNVMLVersion", NULL);
    return text_out(to, size, M.nvml);
}
int nvmlSystemGetCudaDriverVersion(int *to) { ENTER("nvmlSystemGetCudaDriverVersion", NULL); *to = M.cuda; return SUCCESS; }
int nvmlSystemGetCudaDriverVersion_v2(int *to) { return nvmlSystemGetCudaDriverVersion(to); }

static int present(void) { return M.counted > M.vanish_after ? M.n_cards - 1 : M.n_cards; }
/* "returns count of all devices in the system even if nvmlDeviceGetHandleByIndex_v2 returns
 * NVML_ERROR_NO_PERMISSION for such device." */
int nvmlDeviceGetCount_v2(unsigned *to) {
    ENTER("nvmlDeviceGetCount", NULL);
    *to = present();
    M.counted++;
    return SUCCESS;
}
/* INVALID_ARGUMENT for an index that is none, GPU_IS_LOST "if the target GPU has fallen off the bus or is otherwise
 * inaccessible", NO_PERMISSION "if the user doesn't have permission to talk to this device". "The order in which NVML enumerates devices has no guarantees of consistency
 * between reboots." */
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Card **to) {
    if (index >= (unsigned)present()) { ENTER("nvmlDeviceGetHandleByIndex", NULL); return INVALID_ARGUMENT; }
    if (M.reorder && index == 1) { /* once: the first two trade places between two calls */
        M.reorder = 0;
        int first = M.order[0];
        M.order[0] = M.order[1];
        M.order[1] = first;
    }
    Card *card = &M.cards[M.order[index]];
    ENTER("nvmlDeviceGetHandleByIndex", card);
    *to = card;
    return SUCCESS;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, Card **to) {
    ENTER("nvmlDeviceGetHandleByUUID", NULL);
    for (int i = 0; i < M.n_cards; i++) {
        Card *c = &M.cards[i];
        if (!strcmp(c->uuid, uuid)) { *to = c; return SUCCESS; }
        for (int j = 0; j < c->n_instances; j++)
            if (!strcmp(c->instances[j].uuid, uuid)) { *to = (Card *)&c->instances[j]; return SUCCESS; }
    }
    return NOT_FOUND;
}
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, Card **to) {
    ENTER("nvmlDeviceGetHandleByPciBusId", NULL);
    for (int i = 0; i < M.n_cards; i++)
        if (!strcasecmp(M.cards[i].bus, bus)) { *to = &M.cards[i]; return SUCCESS; }
    return NOT_FOUND;
}
int nvmlDeviceGetUUID(Card *d, char *to, unsigned size) {
    ENTER("nvmlDeviceGetUUID", d);
    return text_out(to, size, d->part ? ((Instance *)d)->uuid : d->uuid);
}
int nvmlDeviceGetName(Card *d, char *to, unsigned size) {
    ENTER("nvmlDeviceGetName", d);
    return text_out(to, size, d->part ? ((Instance *)d)->name : d->name);
}
int nvmlDeviceGetIndex(Card *d, unsigned *to) {
    WHOLE("nvmlDeviceGetIndex", d);
    for (int i = 0; i < M.n_cards; i++) if (M.order[i] == d->index) *to = i;
    return SUCCESS;
}
int nvmlDeviceGetMinorNumber(Card *d, unsigned *to) { WHOLE("nvmlDeviceGetMinorNumber", d); *to = d->index; return SUCCESS; }

typedef struct {
    char legacy[16];
    unsigned domain, bus, device, ids, subsystem;
    char id[32];
} Pci;
static void pci_out(Pci *to, const char *bus) {
    memset(to, 0, sizeof *to);
    sscanf(bus, "%x:%x:%x", &to->domain, &to->bus, &to->device);
    to->ids = 0x20b010de;
    snprintf(to->id, sizeof to->id, "%s", bus);
    snprintf(to->legacy, sizeof to->legacy, "%04X:%02X:%02X.0", to->domain & 0xffff, to->bus & 0xff, to->device & 0xff);
}
int nvmlDeviceGetPciInfo_v3(Card *d, Pci *to) {
    WHOLE("nvmlDeviceGetPciInfo", d);
    pci_out(to, d->bus);
    return SUCCESS;
}

/* The whole card and the instance, in bytes; version 1 counts what the driver reserves as used. */
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory2;
static int memory(Card *d, Memory *to) {
    ENTER("nvmlDeviceGetMemoryInfo", d);
    if (!d->part && d->mib < 0) return NOT_SUPPORTED;
    long long total = d->part ? ((Instance *)d)->mib : d->mib, used = d->part ? 0 : d->used_mib;
    to->total = (unsigned long long)total << 20;
    to->free = (unsigned long long)(total - used) << 20;
    to->used = (unsigned long long)used << 20;
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo(Card *d, Memory *to) { return memory(d, to); }
int nvmlDeviceGetMemoryInfo_v2(Card *d, Memory2 *to) {
    Memory one;
    if (to->version != 0x02000028) return VERSION_MISMATCH;
    int code = memory(d, &one);
    if (!code) to->total = one.total, to->free = one.free, to->used = one.used, to->reserved = 0;
    return code;
}
int nvmlDeviceGetCudaComputeCapability(Card *d, int *major, int *minor) {
    ENTER("nvmlDeviceGetCudaComputeCapability", d);
    *major = card_of(d)->major;
    *minor = card_of(d)->minor;
    return SUCCESS;
}

/* NOT_SUPPORTED before Ampere. "The pending MIG mode refers to the target mode following the next activation
 * trigger." */
int nvmlDeviceGetMigMode(Card *d, unsigned *current, unsigned *pending) {
    WHOLE("nvmlDeviceGetMigMode", d);
    if (d->old) return NOT_SUPPORTED;
    *current = d->mig;
    *pending = d->mig_pending;
    return SUCCESS;
}
/* "Returns zero if MIG is not supported or enabled." */
int nvmlDeviceGetMaxMigDeviceCount(Card *d, unsigned *to) {
    WHOLE("nvmlDeviceGetMaxMigDeviceCount", d);
    *to = d->mig ? d->mig_max : 0;
    return SUCCESS;
}
/* NOT_FOUND where there is no instance at an index below the count above, NOT_SUPPORTED where MIG is off. */
int nvmlDeviceGetMigDeviceHandleByIndex(Card *d, unsigned index, Card **to) {
    WHOLE("nvmlDeviceGetMigDeviceHandleByIndex", d);
    if (!d->mig) return NOT_SUPPORTED;
    if (index >= (unsigned)d->mig_max) return INVALID_ARGUMENT;
    for (int i = 0; i < d->n_instances; i++)
        if (d->instances[i].slot == (int)index) { *to = (Card *)&d->instances[i]; return SUCCESS; }
    return NOT_FOUND;
}
int nvmlDeviceIsMigDeviceHandle(Card *d, unsigned *to) { ENTER("nvmlDeviceIsMigDeviceHandle", NULL); *to = d->part; return SUCCESS; }
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Card *d, Card **to) {
    ENTER("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", NULL);
    if (!d->part) return INVALID_ARGUMENT;
    *to = card_of(d);
    return SUCCESS;
}
int nvmlDeviceGetGpuInstanceId(Card *d, unsigned *to) {
    ENTER("nvmlDeviceGetGpuInstanceId", d);
    if (!d->part) return INVALID_ARGUMENT;
    *to = ((Instance *)d)->gi;
    return SUCCESS;
}
int nvmlDeviceGetComputeInstanceId(Card *d, unsigned *to) {
    ENTER("nvmlDeviceGetComputeInstanceId", d);
    if (!d->part) return INVALID_ARGUMENT;
    *to = ((Instance *)d)->ci;
    return SUCCESS;
}

/* Process lists: 16 bytes each in version 1, 24 in 2 and 3, 32 in version 3 of drivers 535.43 to 535.86. A card's
 * own is "aggregate information"; "per-instance information can be queried by using specific MIG device handles". */
static int processes(Card *d, unsigned *count, char *to, size_t size) {
    ENTER("nvmlDeviceGetComputeRunningProcesses", d);
    const unsigned *pids = d->part ? ((Instance *)d)->pids : d->pids;
    unsigned n = d->part ? ((Instance *)d)->n_pids : d->n_pids, space = *count;
    *count = n;
    if (space < n || (n && !to)) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < n; i++) {
        unsigned long long used = ~0ULL; /* NVML_VALUE_NOT_AVAILABLE */
        memset(to + i * size, 0xff, size);
        memcpy(to + i * size, &pids[i], sizeof pids[i]);
        memcpy(to + i * size + 8, &used, sizeof used);
    }
    return SUCCESS;
}
int nvmlDeviceGetComputeRunningProcesses(Card *d, unsigned *n, char *to) { return processes(d, n, to, 16); }
int nvmlDeviceGetComputeRunningProcesses_v2(Card *d, unsigned *n, char *to) { return processes(d, n, to, 24); }
int nvmlDeviceGetComputeRunningProcesses_v3(Card *d, unsigned *n, char *to) {
    return processes(d, n, to, M.protected_struct ? 32 : 24);
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(Card *d, unsigned *n, char *to) {
    (void)to;
    ENTER("nvmlDeviceGetGraphicsRunningProcesses", d);
    *n = 0;
    return SUCCESS;
}

/* NOT_SUPPORTED without ECC, as in a vGPU's guest. */
int nvmlDeviceGetTotalEccErrors(Card *d, int kind, int counter, unsigned long long *to) {
    WHOLE("nvmlDeviceGetTotalEccErrors", d);
    if (d->vgpu) return NOT_SUPPORTED;
    *to = kind == 1 && counter == 0 ? d->ecc : 0; /* uncorrected, volatile */
    return SUCCESS;
}
int nvmlDeviceGetEccMode(Card *d, unsigned *current, unsigned *pending) {
    WHOLE("nvmlDeviceGetEccMode", d);
    if (d->vgpu) return NOT_SUPPORTED;
    *current = *pending = 1;
    return SUCCESS;
}
/* For Ampere and newer; before it, pages are retired instead (the next call). */
int nvmlDeviceGetRemappedRows(Card *d, unsigned *c, unsigned *u, unsigned *pending, unsigned *failed) {
    WHOLE("nvmlDeviceGetRemappedRows", d);
    if (d->old) return NOT_SUPPORTED;
    *c = d->remapped[0], *u = d->remapped[1], *pending = d->remapped[2], *failed = d->remapped[3];
    return SUCCESS;
}
int nvmlDeviceGetRetiredPagesPendingStatus(Card *d, unsigned *to) {
    WHOLE("nvmlDeviceGetRetiredPagesPendingStatus", d);
    if (!d->old || d->vgpu) return NOT_SUPPORTED;
    *to = d->retirement;
    return SUCCESS;
}
typedef struct {
    unsigned field, scope;
    long long timestamp, latency;
    unsigned type;
    int code;
    union { unsigned ui; unsigned long long ull; } value;
} Field;
/* Each field has a return code of its own, which "must be checked before looking at value". */
int nvmlDeviceGetFieldValues(Card *d, int n, Field *fields) {
    WHOLE("nvmlDeviceGetFieldValues", d);
    for (int i = 0; i < n; i++) {
        fields[i].code = fields[i].field == 230 ? SUCCESS : NOT_SUPPORTED;
        fields[i].type = 1;
        fields[i].value.ull = 0xdead0000ULL << 32; /* the upper half of the union is nobody's business */
        fields[i].value.ui = d->recovery;
    }
    return SUCCESS;
}
int nvmlDeviceGetTemperature(Card *d, int sensor, unsigned *to) {
    (void)sensor;
    WHOLE("nvmlDeviceGetTemperature", d);
    if (d->vgpu) return NOT_SUPPORTED;
    *to = d->celsius;
    return SUCCESS;
}
/* The heir of the call above, which "will be removed in CUDA 14.0". */
typedef struct { unsigned version; int sensor, celsius; } Temperature;
int nvmlDeviceGetTemperatureV(Card *d, Temperature *to) {
    WHOLE("nvmlDeviceGetTemperatureV", d);
    if (to->version != 0x0100000c) return VERSION_MISMATCH;
    if (d->vgpu) return NOT_SUPPORTED;
    to->celsius = d->celsius;
    return SUCCESS;
}
int nvmlDeviceGetUtilizationRates(Card *d, unsigned *two) { WHOLE("nvmlDeviceGetUtilizationRates", d); two[0] = two[1] = 0; return SUCCESS; }
int nvmlDeviceGetPowerUsage(Card *d, unsigned *to) { WHOLE("nvmlDeviceGetPowerUsage", d); *to = 60000; return SUCCESS; }
int nvmlDeviceGetEnforcedPowerLimit(Card *d, unsigned *to) { WHOLE("nvmlDeviceGetEnforcedPowerLimit", d); *to = 400000; return SUCCESS; }
int nvmlDeviceGetFanSpeed(Card *d, unsigned *to) { WHOLE("nvmlDeviceGetFanSpeed", d); *to = 0; return NOT_SUPPORTED; }
int nvmlDeviceGetComputeMode(Card *d, unsigned *to) { WHOLE("nvmlDeviceGetComputeMode", d); *to = 0; return SUCCESS; }
int nvmlDeviceGetPersistenceMode(Card *d, unsigned *to) { WHOLE("nvmlDeviceGetPersistenceMode", d); *to = d->persistence; return SUCCESS; }
int nvmlDeviceGetVirtualizationMode(Card *d, unsigned *to) { WHOLE("nvmlDeviceGetVirtualizationMode", d); *to = d->vgpu ? 2 : 0; return SUCCESS; }

int nvmlDeviceGetCpuAffinity(Card *d, unsigned size, unsigned long long *to) {
    ENTER("nvmlDeviceGetCpuAffinity", d);
    if (size < 16) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < size; i++) to[i] = i < 16 ? card_of(d)->cpus[i] : 0;
    return SUCCESS;
}
/* NOT_SUPPORTED where the platform tells no node, as with -1 in sysfs. */
int nvmlDeviceGetMemoryAffinity(Card *d, unsigned size, unsigned long long *to, int scope) {
    (void)scope;
    ENTER("nvmlDeviceGetMemoryAffinity", d);
    if (card_of(d)->numa < 0) return NOT_SUPPORTED;
    memset(to, 0, size * sizeof *to);
    to[card_of(d)->numa / 64] = 1ULL << card_of(d)->numa % 64;
    return SUCCESS;
}
int nvmlDeviceGetTopologyCommonAncestor(Card *one, Card *other, int *to) {
    WHOLE("nvmlDeviceGetTopologyCommonAncestor", one);
    *to = one->ancestor[other->index];
    return SUCCESS;
}
int nvmlDeviceGetP2PStatus(Card *one, Card *other, int index, int *to) {
    WHOLE("nvmlDeviceGetP2PStatus", one);
    *to = index == 2 && one->p2p[other->index] ? 0 : 5;
    return SUCCESS;
}
/* INVALID_ARGUMENT "if device or link is invalid": so is each number in front of, between or behind the links that
 * the card has. NOT_SUPPORTED without any. */
#define LINK(call) do { WHOLE(call, d); if (d->vgpu || !d->n_links) return NOT_SUPPORTED; \
    if (link >= LINKS || !d->links[link].present) return INVALID_ARGUMENT; } while (0)
int nvmlDeviceGetNvLinkState(Card *d, unsigned link, unsigned *to) {
    LINK("nvmlDeviceGetNvLinkState");
    *to = 1;
    return SUCCESS;
}
int nvmlDeviceGetNvLinkRemotePciInfo_v2(Card *d, unsigned link, Pci *to) {
    LINK("nvmlDeviceGetNvLinkRemotePciInfo");
    pci_out(to, d->links[link].bus);
    return SUCCESS;
}
int nvmlDeviceGetNvLinkRemoteDeviceType(Card *d, unsigned link, unsigned *to) {
    LINK("nvmlDeviceGetNvLinkRemoteDeviceType");
    *to = d->links[link].to_switch ? 2 : 0;
    return SUCCESS;
}
