/* libnvidia-ml.so.1 for tests: NVML as documented, over a machine that a table describes.
 *
 * The table (TRITIUM_NVML_TABLE) is written by rig.py from the same machine files as the emulated probe.
 * Every getter reads that one model, so that no two of them can contradict each other. Signatures, structs
 * and codes are those of NVIDIA's own nvml.h, which it is compiled with. What a getter does beyond handing out a value
 * of the model stands above it, as that header says it of the call; in quotes where the words matter. A test looks
 * for the quotes in the header, and for each code among those that the call may answer with.
 */
#include "machine.h"

nvmlReturn_t nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    load_once();
    if (M.ready && M.pid != getpid()) return NVML_ERROR_UNKNOWN; /* the driver's state does not survive a fork */
    M.pid = getpid();
    M.ready = 1;
    ENTER("nvmlInit", NULL);
    M.ready = !M.init;
    return M.init;
}
nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
nvmlReturn_t nvmlShutdown(void) { ENTER("nvmlShutdown", NULL); return NVML_SUCCESS; }
const char *nvmlErrorString(nvmlReturn_t code) {
    static char text[32];
    snprintf(text, sizeof text, "error %d", code);
    return text;
}
static nvmlReturn_t text_out(char *to, unsigned size, const char *from) {
    if (strlen(from) >= size) return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(to, from);
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlSystemGetDriverVersion(char *to, unsigned size) {
    ENTER("nvmlSystemGetDriverVersion", NULL);
    return text_out(to, size, M.driver);
}
nvmlReturn_t nvmlSystemGetNVMLVersion(char *to, unsigned size) {
    ENTER("nvmlSystemGetNVMLVersion", NULL);
    return text_out(to, size, M.nvml);
}
nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *to) { ENTER("nvmlSystemGetCudaDriverVersion", NULL); *to = M.cuda; return NVML_SUCCESS; }
nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *to) { return nvmlSystemGetCudaDriverVersion(to); }

static int present(void) { return M.counted > M.vanish_after ? M.n_cards - 1 : M.n_cards; }
/* "returns count of all devices in the system even if nvmlDeviceGetHandleByIndex_v2 returns
 * NVML_ERROR_NO_PERMISSION for such device." */
nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *to) {
    ENTER("nvmlDeviceGetCount", NULL);
    *to = present();
    M.counted++;
    return NVML_SUCCESS;
}
/* NVML_ERROR_INVALID_ARGUMENT for an index that is none, GPU_IS_LOST "if the target GPU has fallen off the bus or is otherwise
 * inaccessible", NO_PERMISSION "if the user doesn't have permission to talk to this device". "The order in which NVML enumerates devices has no guarantees of consistency
 * between reboots." */
nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, Card **to) {
    if (index >= (unsigned)present()) { ENTER("nvmlDeviceGetHandleByIndex", NULL); return NVML_ERROR_INVALID_ARGUMENT; }
    if (M.reorder && index == 1) { /* once: the first two trade places between two calls */
        M.reorder = 0;
        int first = M.order[0];
        M.order[0] = M.order[1];
        M.order[1] = first;
    }
    Card *card = &M.cards[M.order[index]];
    ENTER("nvmlDeviceGetHandleByIndex", card);
    *to = card;
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, Card **to) {
    ENTER("nvmlDeviceGetHandleByUUID", NULL);
    for (int i = 0; i < M.n_cards; i++) {
        Card *c = &M.cards[i];
        if (!strcmp(c->uuid, uuid)) { *to = c; return NVML_SUCCESS; }
        for (int j = 0; j < c->n_instances; j++)
            if (!strcmp(c->instances[j].uuid, uuid)) { *to = (Card *)&c->instances[j]; return NVML_SUCCESS; }
    }
    return NVML_ERROR_NOT_FOUND;
}
nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *bus, Card **to) {
    ENTER("nvmlDeviceGetHandleByPciBusId", NULL);
    for (int i = 0; i < M.n_cards; i++)
        if (!strcasecmp(M.cards[i].bus, bus)) { *to = &M.cards[i]; return NVML_SUCCESS; }
    return NVML_ERROR_NOT_FOUND;
}
nvmlReturn_t nvmlDeviceGetUUID(Card *d, char *to, unsigned size) {
    ENTER("nvmlDeviceGetUUID", d);
    return text_out(to, size, d->part ? ((Instance *)d)->uuid : d->uuid);
}
nvmlReturn_t nvmlDeviceGetName(Card *d, char *to, unsigned size) {
    ENTER("nvmlDeviceGetName", d);
    return text_out(to, size, d->part ? ((Instance *)d)->name : d->name);
}
nvmlReturn_t nvmlDeviceGetIndex(Card *d, unsigned *to) {
    WHOLE("nvmlDeviceGetIndex", d);
    for (int i = 0; i < M.n_cards; i++) if (M.order[i] == d->index) *to = i;
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetMinorNumber(Card *d, unsigned *to) { WHOLE("nvmlDeviceGetMinorNumber", d); *to = d->index; return NVML_SUCCESS; }

nvmlReturn_t nvmlDeviceGetPciInfo_v3(Card *d, nvmlPciInfo_t *to) {
    WHOLE("nvmlDeviceGetPciInfo", d);
    pci_out(to, d->bus);
    return NVML_SUCCESS;
}

/* The whole card and the instance, in bytes; version 1 counts what the driver reserves as used. */
static nvmlReturn_t memory(Card *d, nvmlMemory_t *to) {
    ENTER("nvmlDeviceGetMemoryInfo", d);
    if (!d->part && d->mib < 0) return NVML_ERROR_NOT_SUPPORTED;
    long long total = d->part ? ((Instance *)d)->mib : d->mib, used = d->part ? 0 : d->used_mib;
    to->total = (unsigned long long)total << 20;
    to->free = (unsigned long long)(total - used) << 20;
    to->used = (unsigned long long)used << 20;
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetMemoryInfo(Card *d, nvmlMemory_t *to) { return memory(d, to); }
nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(Card *d, nvmlMemory_v2_t *to) {
    nvmlMemory_t one;
    if (to->version != nvmlMemory_v2) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    nvmlReturn_t code = memory(d, &one);
    if (!code) to->total = one.total, to->free = one.free, to->used = one.used, to->reserved = 0;
    return code;
}
nvmlReturn_t nvmlDeviceGetCudaComputeCapability(Card *d, int *major, int *minor) {
    ENTER("nvmlDeviceGetCudaComputeCapability", d);
    *major = card_of(d)->major;
    *minor = card_of(d)->minor;
    return NVML_SUCCESS;
}

/* NVML_ERROR_NOT_SUPPORTED before Ampere. "The pending MIG mode refers to the target mode following the next activation
 * trigger." */
nvmlReturn_t nvmlDeviceGetMigMode(Card *d, unsigned *current, unsigned *pending) {
    WHOLE("nvmlDeviceGetMigMode", d);
    if (d->old) return NVML_ERROR_NOT_SUPPORTED;
    *current = d->mig;
    *pending = d->mig_pending;
    return NVML_SUCCESS;
}
/* "Returns zero if MIG is not supported or enabled." */
nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(Card *d, unsigned *to) {
    WHOLE("nvmlDeviceGetMaxMigDeviceCount", d);
    *to = d->mig ? d->mig_max : 0;
    return NVML_SUCCESS;
}
/* NVML_ERROR_NOT_FOUND where there is no instance at an index below the count above, NVML_ERROR_NOT_SUPPORTED where MIG is off. */
nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(Card *d, unsigned index, Card **to) {
    WHOLE("nvmlDeviceGetMigDeviceHandleByIndex", d);
    if (!d->mig) return NVML_ERROR_NOT_SUPPORTED;
    if (index >= (unsigned)d->mig_max) return NVML_ERROR_INVALID_ARGUMENT;
    for (int i = 0; i < d->n_instances; i++)
        if (d->instances[i].slot == (int)index) { *to = (Card *)&d->instances[i]; return NVML_SUCCESS; }
    return NVML_ERROR_NOT_FOUND;
}
nvmlReturn_t nvmlDeviceIsMigDeviceHandle(Card *d, unsigned *to) { ENTER("nvmlDeviceIsMigDeviceHandle", NULL); *to = d->part; return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Card *d, Card **to) {
    ENTER("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", NULL);
    if (!d->part) return NVML_ERROR_INVALID_ARGUMENT;
    *to = card_of(d);
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetGpuInstanceId(Card *d, unsigned *to) {
    ENTER("nvmlDeviceGetGpuInstanceId", d);
    if (!d->part) return NVML_ERROR_INVALID_ARGUMENT;
    *to = ((Instance *)d)->gi;
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetComputeInstanceId(Card *d, unsigned *to) {
    ENTER("nvmlDeviceGetComputeInstanceId", d);
    if (!d->part) return NVML_ERROR_INVALID_ARGUMENT;
    *to = ((Instance *)d)->ci;
    return NVML_SUCCESS;
}

/* Process lists: 16 bytes each in version 1, 24 in 2 and 3, 32 in version 3 of drivers 535.43 to 535.86. A card's
 * own is "aggregate information"; "per-instance information can be queried by using specific MIG device handles". */
static nvmlReturn_t processes(Card *d, unsigned *count, void *out, size_t size) {
    ENTER("nvmlDeviceGetComputeRunningProcesses", d);
    const unsigned *pids = d->part ? ((Instance *)d)->pids : d->pids;
    unsigned n = d->part ? ((Instance *)d)->n_pids : d->n_pids, space = *count;
    char *to = out;
    *count = n;
    if (space < n || (n && !to)) return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < n; i++) {
        unsigned long long used = ~0ULL; /* NVML_VALUE_NOT_AVAILABLE */
        memset(to + i * size, 0xff, size);
        memcpy(to + i * size, &pids[i], sizeof pids[i]);
        memcpy(to + i * size + 8, &used, sizeof used);
    }
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses(Card *d, unsigned *n, nvmlProcessInfo_v1_t *to) {
    return processes(d, n, to, sizeof *to);
}
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(Card *d, unsigned *n, nvmlProcessInfo_v2_t *to) {
    return processes(d, n, to, sizeof *to);
}
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(Card *d, unsigned *n, nvmlProcessInfo_t *to) {
    return processes(d, n, to, M.protected_struct ? sizeof *to + 8 : sizeof *to);
}
nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(Card *d, unsigned *n, nvmlProcessInfo_t *to) {
    (void)to;
    ENTER("nvmlDeviceGetGraphicsRunningProcesses", d);
    *n = 0;
    return NVML_SUCCESS;
}

/* NVML_ERROR_NOT_SUPPORTED without ECC, as in a vGPU's guest. */
nvmlReturn_t nvmlDeviceGetTotalEccErrors(Card *d, nvmlMemoryErrorType_t kind, nvmlEccCounterType_t counter,
                                         unsigned long long *to) {
    WHOLE("nvmlDeviceGetTotalEccErrors", d);
    if (d->vgpu) return NVML_ERROR_NOT_SUPPORTED;
    *to = kind == NVML_MEMORY_ERROR_TYPE_UNCORRECTED && counter == NVML_VOLATILE_ECC ? d->ecc : 0;
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetEccMode(Card *d, nvmlEnableState_t *current, nvmlEnableState_t *pending) {
    WHOLE("nvmlDeviceGetEccMode", d);
    if (d->vgpu) return NVML_ERROR_NOT_SUPPORTED;
    *current = *pending = NVML_FEATURE_ENABLED;
    return NVML_SUCCESS;
}
/* For Ampere and newer; before it, pages are retired instead (the next call). */
nvmlReturn_t nvmlDeviceGetRemappedRows(Card *d, unsigned *c, unsigned *u, unsigned *pending, unsigned *failed) {
    WHOLE("nvmlDeviceGetRemappedRows", d);
    if (d->old) return NVML_ERROR_NOT_SUPPORTED;
    *c = d->remapped[0], *u = d->remapped[1], *pending = d->remapped[2], *failed = d->remapped[3];
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetRetiredPagesPendingStatus(Card *d, nvmlEnableState_t *to) {
    WHOLE("nvmlDeviceGetRetiredPagesPendingStatus", d);
    if (!d->old || d->vgpu) return NVML_ERROR_NOT_SUPPORTED;
    *to = d->retirement;
    return NVML_SUCCESS;
}
/* Each field has a return code of its own, which "must be checked before looking at value". */
nvmlReturn_t nvmlDeviceGetFieldValues(Card *d, int n, nvmlFieldValue_t *fields) {
    WHOLE("nvmlDeviceGetFieldValues", d);
    for (int i = 0; i < n; i++) {
        int known = fields[i].fieldId == NVML_FI_DEV_GET_GPU_RECOVERY_ACTION;
        fields[i].nvmlReturn = known ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
        fields[i].valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
        fields[i].value.ullVal = 0xdead0000ULL << 32; /* the upper half of the union is nobody's business */
        fields[i].value.uiVal = d->recovery;
    }
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetTemperature(Card *d, nvmlTemperatureSensors_t sensor, unsigned *to) {
    (void)sensor;
    WHOLE("nvmlDeviceGetTemperature", d);
    if (d->vgpu) return NVML_ERROR_NOT_SUPPORTED;
    *to = d->celsius;
    return NVML_SUCCESS;
}
/* The heir of the call above, which "will be removed in CUDA 14.0". */
nvmlReturn_t nvmlDeviceGetTemperatureV(Card *d, nvmlTemperature_t *to) {
    WHOLE("nvmlDeviceGetTemperatureV", d);
    if (to->version != nvmlTemperature_v1) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (d->vgpu) return NVML_ERROR_NOT_SUPPORTED;
    to->temperature = d->celsius;
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetUtilizationRates(Card *d, nvmlUtilization_t *to) { WHOLE("nvmlDeviceGetUtilizationRates", d); to->gpu = to->memory = 0; return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetPowerUsage(Card *d, unsigned *to) { WHOLE("nvmlDeviceGetPowerUsage", d); *to = 60000; return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(Card *d, unsigned *to) { WHOLE("nvmlDeviceGetEnforcedPowerLimit", d); *to = 400000; return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetFanSpeed(Card *d, unsigned *to) { WHOLE("nvmlDeviceGetFanSpeed", d); *to = 0; return NVML_ERROR_NOT_SUPPORTED; }
nvmlReturn_t nvmlDeviceGetComputeMode(Card *d, nvmlComputeMode_t *to) { WHOLE("nvmlDeviceGetComputeMode", d); *to = NVML_COMPUTEMODE_DEFAULT; return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetPersistenceMode(Card *d, nvmlEnableState_t *to) { WHOLE("nvmlDeviceGetPersistenceMode", d); *to = d->persistence; return NVML_SUCCESS; }
nvmlReturn_t nvmlDeviceGetVirtualizationMode(Card *d, nvmlGpuVirtualizationMode_t *to) { WHOLE("nvmlDeviceGetVirtualizationMode", d); *to = d->vgpu ? NVML_GPU_VIRTUALIZATION_MODE_VGPU : NVML_GPU_VIRTUALIZATION_MODE_NONE; return NVML_SUCCESS; }
