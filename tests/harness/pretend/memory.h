// The memory of the pretend accelerator: host memory that is counted and has an end.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/Device.h>
#include <c10/core/Storage.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

namespace {

const c10::Device kDevice{c10::DeviceType::PrivateUse1, 0};

struct Ledger {  // all in bytes
  std::atomic<int64_t> allocated{0}, peak{0}, capacity{0}, to_device{0}, to_host{0};
};
Ledger ledger;

void charge(int64_t bytes) {
  const int64_t now = ledger.allocated += bytes;
  const int64_t capacity = ledger.capacity;
  if (capacity > 0 && now > capacity) {
    ledger.allocated -= bytes;
    TORCH_CHECK_WITH(
        OutOfMemoryError, false, "pretend out of memory. Tried to allocate ", bytes, " bytes. The device has a capacity of ",
        capacity, " bytes of which ", capacity - (now - bytes), " bytes are free.");
  }
  int64_t peak = ledger.peak;
  while (now > peak && !ledger.peak.compare_exchange_weak(peak, now)) {
  }
}

// A block begins with its size, because whoever frees it is told nothing but the address behind that.
constexpr size_t kHeader = 64;  // keeps the alignment that the CPU's vector kernels like

void release(void* memory) {
  if (memory == nullptr) return;
  void* block = static_cast<char*>(memory) - kHeader;
  ledger.allocated -= *static_cast<int64_t*>(block);
  std::free(block);
}

struct CountingAllocator final : at::Allocator {
  at::DataPtr allocate(size_t bytes) override {
    charge(static_cast<int64_t>(bytes));
    void* block = nullptr;
    if (posix_memalign(&block, kHeader, kHeader + bytes) != 0) {
      ledger.allocated -= static_cast<int64_t>(bytes);
      throw std::bad_alloc();
    }
    *static_cast<int64_t*>(block) = static_cast<int64_t>(bytes);
    void* memory = static_cast<char*>(block) + kHeader;
    return {memory, memory, &release, kDevice};
  }
  at::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* destination, const void* source, size_t bytes) const override {
    std::memcpy(destination, source, bytes);
  }
};
CountingAllocator allocator;
REGISTER_ALLOCATOR(c10::DeviceType::PrivateUse1, &allocator);

void resize_storage(const c10::Storage& storage, size_t bytes) {
  at::DataPtr larger = allocator.allocate(bytes);
  std::memcpy(larger.get(), storage.data(), std::min(bytes, storage.nbytes()));
  storage.unsafeGetStorageImpl()->set_data_ptr_noswap(std::move(larger));
  storage.set_nbytes(bytes);
}

}  // namespace
