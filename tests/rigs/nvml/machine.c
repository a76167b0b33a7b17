/* The machine that the library answers for, read from its table, and what every call does first. */
#include "machine.h"

Machine M;
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

void load_once(void) { pthread_once(&once, load); }

static nvmlReturn_t fault_in(const Fault *faults, int n, const char *call) {
    for (int i = 0; i < n; i++) if (!strcmp(faults[i].call, call)) return faults[i].code;
    return NVML_SUCCESS;
}

Card *card_of(Card *device) { return device->part ? ((Instance *)device)->card : device; }

/* What every call does first: hang, refuse, or find its card gone. An instance is lost with its card ("the
 * GPU has fallen off the bus", nvmlReturn_t) and has none of the other faults that are written of the card. */
nvmlReturn_t enter(const char *call, Card *device) {
    nvmlReturn_t code;
    load_once();
    for (int i = 0; i < M.n_hang; i++) if (!strcmp(M.hang[i], call)) for (;;) pause();
    if (!M.ready) return NVML_ERROR_UNINITIALIZED;
    if (device && card_of(device)->calls++ >= card_of(device)->lost_after) return NVML_ERROR_GPU_IS_LOST;
    if (device && device->part) return NVML_SUCCESS;
    if (device && (code = fault_in(device->faults, device->n_faults, call))) return code;
    return fault_in(M.faults, M.n_faults, call);
}

void pci_out(nvmlPciInfo_t *to, const char *bus) {
    memset(to, 0, sizeof *to);
    sscanf(bus, "%x:%x:%x", &to->domain, &to->bus, &to->device);
    to->pciDeviceId = 0x20b010de;
    snprintf(to->busId, sizeof to->busId, "%s", bus);
    snprintf(to->busIdLegacy, sizeof to->busIdLegacy, "%04X:%02X:%02X.0", to->domain & 0xffff, to->bus & 0xff, to->device & 0xff);
}
