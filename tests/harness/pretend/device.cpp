// A pretend accelerator for tests: an own device type whose memory is host memory and whose kernels are the CPU's.
//
// It is strict where a graphics card is strict, so that code about memory can be tested without one:
//   * every byte on the device is counted, and an allocation above the capacity raises torch.OutOfMemoryError;
//   * an operator refuses tensors of two devices, with CUDA's two exceptions (numbers, and indices on the host);
//   * every byte that crosses between host and device is counted.
//
// How it works: torch reserves the device type PrivateUse1 for such backends. We give it an allocator, the few
// operators that make, view and copy tensors, convolutions (which torch asks each backend for), and one function for
// all other operators: look at the device's memory as CPU tensors, call the CPU's kernel, put the results on the device.

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/NativeFunctions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/Resize.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <pybind11/pybind11.h>
#include <torch/library.h>

#include <vector>

#include "memory.h"

namespace {

using at::Tensor;
using c10::IntArrayRef;
using c10::IValue;
using OptionalTensor = std::optional<Tensor>;

const c10::Stream kStream{c10::Stream::DEFAULT, kDevice};

// -------------------------------------------------------------------------------- what torch asks of a device type

struct OneDevice final : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::PrivateUse1> {
  c10::Device exchangeDevice(c10::Device) const override { return kDevice; }
  c10::Device getDevice() const override { return kDevice; }
  c10::Stream getStream(c10::Device) const noexcept override { return kStream; }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return kStream; }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, OneDevice);

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  c10::Device getDeviceFromPtr(void*) const override { return kDevice; }
  at::Allocator* getPinnedMemoryAllocator() const override { return at::getCPUAllocator(); }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    static const at::Generator generator = at::detail::getDefaultCPUGenerator();
    return generator;
  }
  at::Generator getNewGenerator(c10::DeviceIndex) const override { return at::detail::createCPUGenerator(); }
  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t bytes) const override {
    resize_storage(storage, bytes);
  }
};

// ---------------------------------------------------------------------------------- between the device and the host

bool on_device(const Tensor& tensor) { return tensor.defined() && tensor.device().type() == kDevice.type(); }

// The same memory, seen as a CPU tensor. It must not outlive `tensor`.
Tensor seen_from_host(const Tensor& tensor) {
  if (!on_device(tensor)) return tensor;
  return at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(), tensor.options().device(at::kCPU));
}

Tensor put_on_device(const Tensor& host) {
  if (!host.defined()) return host;
  const auto options = host.options().device(kDevice).pinned_memory(false);
  Tensor result = host.is_non_overlapping_and_dense() ? at::empty_strided(host.sizes(), host.strides(), options)
                                                      : at::empty(host.sizes(), options);
  seen_from_host(result).copy_(host);
  return result;
}

Tensor copy_from(const Tensor& source, const Tensor& destination, bool /*non_blocking*/) {
  if (!on_device(source)) ledger.to_device += static_cast<int64_t>(source.nbytes());
  if (!on_device(destination)) ledger.to_host += static_cast<int64_t>(source.nbytes());
  seen_from_host(destination).copy_(seen_from_host(source));
  return destination;
}

Tensor copy_from_and_resize(const Tensor& source, const Tensor& destination) {
  destination.resize_(source.sizes());
  return copy_from(source, destination, false);
}

at::Scalar read_number(const Tensor& self) {
  ledger.to_host += static_cast<int64_t>(self.nbytes());
  return at::_local_scalar_dense(seen_from_host(self));
}

// --------------------------------------------------------------------------------------- making and viewing tensors

Tensor empty(
    IntArrayRef sizes, std::optional<at::ScalarType> dtype, std::optional<at::Layout>, std::optional<at::Device>,
    std::optional<bool>, std::optional<at::MemoryFormat> format) {
  const c10::DispatchKeySet keys(c10::DispatchKey::PrivateUse1);
  return at::detail::empty_generic(sizes, &allocator, keys, c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(
    IntArrayRef sizes, IntArrayRef strides, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
    std::optional<at::Device>, std::optional<bool>) {
  const c10::DispatchKeySet keys(c10::DispatchKey::PrivateUse1);
  return at::detail::empty_strided_generic(sizes, strides, &allocator, keys, c10::dtype_or_default(dtype));
}

const Tensor& resize(const Tensor& self, c10::SymIntArrayRef symbolic, std::optional<at::MemoryFormat>) {
  const IntArrayRef sizes = C10_AS_INTARRAYREF_SLOW(symbolic);
  const size_t bytes = static_cast<size_t>(c10::multiply_integers(sizes)) * self.element_size();
  if (self.storage().nbytes() < bytes) resize_storage(self.storage(), bytes);
  self.unsafeGetTensorImpl()->set_sizes_contiguous(sizes);
  return self;
}

Tensor& set_storage(Tensor& self, at::Storage storage, int64_t offset, IntArrayRef sizes, IntArrayRef strides) {
  return at::native::set_storage_cpu_(self, std::move(storage), offset, sizes, strides);
}

// ------------------------------------------------------------------------------------------- every other operator

void refuse_two_devices(const std::string& operation, at::ArrayRef<IValue> arguments) {
  bool device = false, host = false;
  const auto look = [&](const Tensor& tensor) {
    if (!tensor.defined()) return;
    if (on_device(tensor)) device = true;
    else if (tensor.dim() > 0) host = true;  // a number may be on the host
  };
  for (const IValue& argument : arguments) {  // Tensor?[] is left out: these are indices, which may be on the host
    if (argument.isTensor()) look(argument.toTensor());
    if (argument.isTensorList()) {
      for (const Tensor& tensor : argument.toTensorVector()) look(tensor);
    }
  }
  TORCH_CHECK(
      !(device && host), "Expected all tensors to be on the same device, but found at least two devices, ", kDevice,
      " and cpu! (in ", operation, ")");
}

// The arguments of one call, on the host; keeps what they were on the device.
class HostedCall {
 public:
  HostedCall(const c10::OperatorHandle& operation, torch::jit::Stack& stack) : schema_(operation.schema()) {
    const auto& arguments = schema_.arguments();
    const size_t first = stack.size() - arguments.size();
    for (size_t index = 0; index < arguments.size(); ++index) {
      const auto* alias = arguments[index].alias_info();
      host(stack[first + index], alias != nullptr && alias->isWrite());
    }
  }

  void bring_back(torch::jit::Stack& stack) {
    for (const auto& [device, host] : written_) {
      if (device.sizes() != host.sizes()) device.resize_(host.sizes());
      seen_from_host(device).copy_(host);
    }
    const size_t first = stack.size() - schema_.returns().size();
    for (size_t index = first; index < stack.size(); ++index) {
      IValue& value = stack[index];
      if (value.isTensor()) value = returned(value.toTensor());
      else if (value.isTensorList()) value = each(value.toTensorVector(), [this](const Tensor& t) { return returned(t); });
    }
  }

 private:
  template <typename Change>
  static c10::List<Tensor> each(const std::vector<Tensor>& tensors, Change change) {
    c10::List<Tensor> changed;
    for (const Tensor& tensor : tensors) changed.push_back(change(tensor));
    return changed;
  }

  void host(IValue& value, bool is_written) {
    if (value.isTensor()) {
      value = host(value.toTensor(), is_written);
    } else if (value.isTensorList()) {
      value = each(value.toTensorVector(), [=](const Tensor& tensor) { return host(tensor, is_written); });
    } else if (value.isOptionalTensorList()) {
      c10::List<OptionalTensor> hosted;
      for (const OptionalTensor& tensor : value.toOptionalTensorVector()) {
        hosted.push_back(tensor ? OptionalTensor(host(*tensor, is_written)) : tensor);
      }
      value = hosted;
    } else if (value.isDevice()) {
      value = c10::Device(at::kCPU);
    }
  }

  Tensor host(const Tensor& tensor, bool is_written) {
    if (!on_device(tensor)) return tensor;
    kept_.push_back(tensor);
    if (!is_written) return seen_from_host(tensor);
    // A copy, since the kernel may resize what it writes to.
    written_.emplace_back(tensor, seen_from_host(tensor).clone());
    return written_.back().second;
  }

  Tensor returned(const Tensor& result) const {
    for (const auto& [device, host] : written_) {
      if (result.is_same(host)) return device;
    }
    return put_on_device(result);
  }

  const c10::FunctionSchema& schema_;
  std::vector<Tensor> kept_;
  std::vector<std::pair<Tensor, Tensor>> written_;  // on the device, on the host
};

void run_on_host(const c10::OperatorHandle& operation, torch::jit::Stack* stack) {
  refuse_two_devices(
      operation.schema().operator_name().name, torch::jit::last(*stack, operation.schema().arguments().size()));
  HostedCall call(operation, *stack);
  operation.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  call.bring_back(*stack);
}

// ----------------------------------------------------------------------------------------------------- convolutions

Tensor convolution(
    const Tensor& input, const Tensor& weight, const OptionalTensor& bias, IntArrayRef stride, IntArrayRef padding,
    IntArrayRef dilation, bool transposed, IntArrayRef output_padding, int64_t groups) {
  refuse_two_devices("aten::convolution", {input, weight, bias.value_or(Tensor())});
  const OptionalTensor host_bias = bias ? OptionalTensor(seen_from_host(*bias)) : bias;
  return put_on_device(at::convolution(
      seen_from_host(input), seen_from_host(weight), host_bias, stride, padding, dilation, transposed, output_padding,
      groups));
}

std::tuple<Tensor, Tensor, Tensor> convolution_backward(
    const Tensor& gradient, const Tensor& input, const Tensor& weight, IntArrayRef stride, IntArrayRef padding,
    IntArrayRef dilation, bool transposed, IntArrayRef output_padding, int64_t groups, std::array<bool, 3> wanted) {
  refuse_two_devices("aten::convolution_backward", {gradient, input, weight});
  const int64_t channels = transposed ? weight.size(1) * groups : weight.size(0);
  const auto [input_gradient, weight_gradient, bias_gradient] = at::convolution_backward(
      seen_from_host(gradient), seen_from_host(input), seen_from_host(weight), IntArrayRef(channels), stride, padding,
      dilation, transposed, output_padding, groups, wanted);
  return {put_on_device(input_gradient), put_on_device(weight_gradient), put_on_device(bias_gradient)};
}

}  // namespace

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_host>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("resize_", &resize);
  library.impl("set_.source_Storage_storage_offset", &set_storage);
  library.impl("as_strided", &at::native::as_strided_tensorimpl);
  library.impl("view", &at::native::view);
  library.impl("_reshape_alias", &at::native::_reshape_alias);
  library.impl("unfold", &at::native::unfold);
  library.impl("view_as_complex", &at::native::view_as_complex);
  library.impl("view_as_real", &at::native::view_as_real);
  library.impl("_copy_from", &copy_from);
  library.impl("_copy_from_and_resize", &copy_from_and_resize);
  library.impl("_local_scalar_dense", &read_number);
  library.impl("convolution_overrideable", &convolution);
  library.impl("convolution_backward_overrideable", &convolution_backward);
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  static Hooks hooks;
  at::RegisterPrivateUse1HooksInterface(&hooks);
  module.def("allocated", [] { return ledger.allocated.load(); });
  module.def("peak", [] { return ledger.peak.load(); });
  module.def("reset_peak", [] { ledger.peak = ledger.allocated.load(); });
  module.def("set_capacity", [](int64_t bytes) { ledger.capacity = bytes; }, "0 means without limit");
  module.def("traffic", [] { return std::make_pair(ledger.to_device.load(), ledger.to_host.load()); });
}
