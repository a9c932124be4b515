import torch

from ibc_pyg.data.loading.buffers import Buffers


def test_memory_is_used_again_once_it_is_free():
    buffers = Buffers()
    tensor = buffers.empty(3, 4)
    place = tensor.data_ptr()
    assert (tensor.shape, tensor.dtype) == ((3, 4), torch.float32)
    del tensor
    assert buffers.empty(3, 4).data_ptr() == place


def test_memory_that_is_looked_at_is_left_alone():
    buffers = Buffers(most=3)
    kept = []
    for number in range(10):
        tensor = buffers.empty(50, 40).fill_(number)
        looks = [tensor, tensor[3:], tensor.T, tensor.view(2000), tensor.permute(1, 0)[2]]
        looks += [tensor.numpy(), tensor.detach(), torch.nn.Parameter(tensor)]
        kept.append(looks[number % len(looks)])
        del tensor, looks
    for number, look in enumerate(kept):
        assert (look == number).all()


def test_memory_that_autograd_keeps_is_left_alone():
    buffers = Buffers(most=2)
    weight = torch.ones(5, requires_grad=True)
    results = []
    for number in range(6):
        results.append((buffers.empty(5).fill_(number) * weight).sum())  # saves the buffer
    for number, result in enumerate(results):
        (gradient,) = torch.autograd.grad(result, weight)
        assert (gradient == number).all()


def test_shapes_are_kept_apart():
    buffers = Buffers(most=2)
    for _ in range(3):
        for shape in ((2, 3), (3, 2), (6,)):
            assert buffers.empty(*shape).shape == shape
