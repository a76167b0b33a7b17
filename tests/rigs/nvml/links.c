/* Where a card sits and how it is wired; what nvml.c says of sources holds here too. */
#include "machine.h"

nvmlReturn_t nvmlDeviceGetCpuAffinity(Card *d, unsigned size, unsigned long *to) {
    ENTER("nvmlDeviceGetCpuAffinity", d);
    for (unsigned i = 0; i < size; i++) to[i] = i < 16 ? card_of(d)->cpus[i] : 0;
    return NVML_SUCCESS;
}
/* NVML_ERROR_NOT_SUPPORTED where the platform tells no node, as with -1 in sysfs. */
nvmlReturn_t nvmlDeviceGetMemoryAffinity(Card *d, unsigned size, unsigned long *to, nvmlAffinityScope_t scope) {
    (void)scope;
    ENTER("nvmlDeviceGetMemoryAffinity", d);
    if (card_of(d)->numa < 0) return NVML_ERROR_NOT_SUPPORTED;
    memset(to, 0, size * sizeof *to);
    to[card_of(d)->numa / 64] = 1UL << card_of(d)->numa % 64;
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetTopologyCommonAncestor(Card *one, Card *other, nvmlGpuTopologyLevel_t *to) {
    WHOLE("nvmlDeviceGetTopologyCommonAncestor", one);
    *to = one->ancestor[other->index];
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetP2PStatus(Card *one, Card *other, nvmlGpuP2PCapsIndex_t index, nvmlGpuP2PStatus_t *to) {
    WHOLE("nvmlDeviceGetP2PStatus", one);
    int linked = index == NVML_P2P_CAPS_INDEX_NVLINK && one->p2p[other->index];
    *to = linked ? NVML_P2P_STATUS_OK : NVML_P2P_STATUS_NOT_SUPPORTED;
    return NVML_SUCCESS;
}
/* NVML_ERROR_INVALID_ARGUMENT "if device or link is invalid": so is each number in front of, between or behind the links that
 * the card has. NVML_ERROR_NOT_SUPPORTED without any. */
#define LINK(call) do { WHOLE(call, d); if (d->vgpu || !d->n_links) return NVML_ERROR_NOT_SUPPORTED; \
    if (link >= LINKS || !d->links[link].present) return NVML_ERROR_INVALID_ARGUMENT; } while (0)
nvmlReturn_t nvmlDeviceGetNvLinkState(Card *d, unsigned link, nvmlEnableState_t *to) {
    LINK("nvmlDeviceGetNvLinkState");
    *to = NVML_FEATURE_ENABLED;
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetNvLinkRemotePciInfo_v2(Card *d, unsigned link, nvmlPciInfo_t *to) {
    LINK("nvmlDeviceGetNvLinkRemotePciInfo");
    pci_out(to, d->links[link].bus);
    return NVML_SUCCESS;
}
nvmlReturn_t nvmlDeviceGetNvLinkRemoteDeviceType(Card *d, unsigned link, nvmlIntNvLinkDeviceType_t *to) {
    LINK("nvmlDeviceGetNvLinkRemoteDeviceType");
    *to = d->links[link].to_switch ? NVML_NVLINK_DEVICE_TYPE_SWITCH : NVML_NVLINK_DEVICE_TYPE_GPU;
    return NVML_SUCCESS;
}
